"""Exact numbers of arguments, as whole counts of 10⁻¹⁸: no float decides about money."""

from __future__ import annotations

import re
from decimal import Decimal

DECIMALS_MAX = 18
# 2^256 has 78 digits.
AMOUNT_PATTERN = r"-?(0|[1-9][0-9]{0,77})(\.[0-9]{1,18})?"
_ONE: int = 10**DECIMALS_MAX
_AMOUNT = re.compile(AMOUNT_PATTERN, re.ASCII)


class Fractional(str):
    """A number of a JSON text that is not written as a whole one, as it stands there."""

    __slots__ = ()


def read_amount(value: object) -> int | None:
    """Return how many 10⁻¹⁸ a number is, also one in a text; None if that cannot be told exactly.

    What is written with an exponent, a sign `+`, more digits, or in another script is no number
    here; neither is a fraction that a receiver would round to another one.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    # So long a number takes long to write.
    text = str(value) if isinstance(value, str) or abs(value) < 10**78 else ""
    if not _AMOUNT.fullmatch(text):
        return None
    if isinstance(value, Fractional) and Decimal(repr(float(text))) != Decimal(text):
        return None
    whole, _, decimals = text.lstrip("-").partition(".")
    size = int(whole) * _ONE + int(decimals.ljust(DECIMALS_MAX, "0"))
    return -size if text.startswith("-") else size


def amount_text(amount: int) -> str:
    """Return an amount as people write it."""
    whole, decimals = divmod(abs(amount), _ONE)
    text = f"{whole}.{decimals:018}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text
