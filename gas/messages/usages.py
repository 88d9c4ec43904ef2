"""Usages and times in messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from chassis import fields
from chassis.errors import InvalidField

from ..prices import Meter, Usage

USAGES_MAX = 16
# Receipts are canonical JSON, where a larger integer has no exact value.
AMOUNT_MAX = 2**53 - 1
# The end of the year 9999.
SECONDS_MAX = 253_402_300_799


def usages_from_proto(usages: Sequence[action_pb2.Usage], *, size_min: int) -> tuple[Usage, ...]:
    """Return usages, each meter once, or refuse them."""
    fields.require_size("usages", usages, size_min=size_min, size_max=USAGES_MAX)
    parsed = tuple(usage_from_proto(f"usages[{i}]", usage) for i, usage in enumerate(usages))
    meters = [usage.meter for usage in parsed]
    for i, meter in enumerate(meters):
        if meter in meters[:i]:
            raise InvalidField(f"usages[{i}].meter", "came before; add the amounts up")
    return parsed


def usage_from_proto(field: str, usage: action_pb2.Usage) -> Usage:
    """Return what one meter counted."""
    if usage.meter not in METERS:
        raise InvalidField(f"{field}.meter", "is required, such as METER_INPUT_TOKENS")
    fields.require_range(f"{field}.amount", usage.amount, least=0, most=AMOUNT_MAX)
    return Usage(METERS[usage.meter], usage.amount)


METERS = {action_pb2.Usage.Meter.Value(meter.value): meter for meter in Meter}


def usages_to_proto(usages: Sequence[Usage]) -> list[action_pb2.Usage]:
    """Return usages as the contract has them."""
    return [
        action_pb2.Usage(meter=action_pb2.Usage.Meter.Value(u.meter.value), amount=u.amount)
        for u in usages
    ]


def time_from_proto(field: str, timestamp: Timestamp) -> datetime:
    """Return a time from 1970 on, in UTC, or refuse it."""
    if not 0 <= timestamp.seconds <= SECONDS_MAX or not 0 <= timestamp.nanos < 10**9:
        raise InvalidField(field, "must be a time from 1970 to 9999")
    return timestamp.ToDatetime(tzinfo=UTC)


def timestamp_to_proto(time: datetime) -> Timestamp:
    """Return a time in UTC."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
