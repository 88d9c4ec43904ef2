"""Money, shares, moments and windows, as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.gas.v1 import prices_pb2

from .errors import CommandError

MICROS = 1_000_000
BASIS_POINTS = 10_000
PERMILLE = 1_000
# Above every limit of the contract, and small enough for each of its fields.
WHOLE_MAX = 2**53 - 1

_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,2})?)%?")
_WINDOW = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def money_text(micros: int, currency: str) -> str:
    """Return money with two to six decimals, such as `0.0125 USD`."""
    whole, part = divmod(abs(micros), MICROS)
    decimals = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals} {currency}".rstrip()


def cost_text(cost: prices_pb2.Money) -> str:
    """Return what something costs; nothing if no currency is known."""
    return money_text(cost.micros, cost.currency) if cost.currency else ""


def parse_money(text: str, field: str) -> int:
    """Return an amount such as `0.25` in millionths."""
    if not _AMOUNT.fullmatch(text):
        raise _malformed(text, field, "an amount with at most six decimals, such as 0.25")
    return int(Decimal(text) * MICROS)


def percent_text(basis_points: int) -> str:
    """Return hundredths of a percent, such as `2.5 %`."""
    return f"{Decimal(basis_points) / 100:f} %"


def parse_percent(text: str, field: str) -> int:
    """Return a share such as `2.5%` in basis points."""
    found = _PERCENT.fullmatch(text)
    if not found:
        raise _malformed(text, field, "a percentage with at most two decimals, such as 2.5%")
    return int(Decimal(found[1]) * 100)


def parse_whole(text: str, field: str) -> int:
    """Return a whole number that is not negative, such as `50000` or `50_000`."""
    digits = text.replace("_", "")
    if not re.fullmatch("[0-9]{1,16}", digits) or int(digits) > WHOLE_MAX:
        raise _malformed(text, field, "a whole number, such as 50000")
    return int(digits)


def parse_window(text: str, field: str) -> timedelta:
    """Return a length of time such as `30s`, `90m`, `36h` or `7d`."""
    found = _WINDOW.fullmatch(text)
    if not found:
        raise _malformed(text, field, "a length of time, such as 30s, 90m, 36h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def window_text(length: timedelta) -> str:
    """Return a length of time in its largest whole unit."""
    for letter in ("d", "h", "m"):
        count, rest = divmod(length, _UNITS[letter])
        if not rest:
            return f"{count}{letter}"
    return f"{length.total_seconds():g}s"


def parse_zone(text: str, field: str) -> tzinfo:
    """Return an IANA time zone; empty is UTC."""
    try:
        return ZoneInfo(text) if text else UTC
    except (OSError, ValueError, KeyError) as error:
        raise _malformed(text, field, "an IANA time zone, such as Europe/Berlin") from error


def parse_moment(text: str, zone: tzinfo, field: str) -> Timestamp:
    """Return a moment such as `2026-12-01T09:30`, which is in `zone` unless it names another."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        found = Timestamp()
        found.FromDatetime(moment.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        example = "a day or a moment, such as 2026-12-01 or 2026-12-01T09:30+01:00"
        raise _malformed(text, field, example) from error
    return found


def _malformed(text: str, field: str, example: str) -> CommandError:
    return CommandError(f"{field} {text} is not {example}", reason="INVALID_FIELD", field=field)
