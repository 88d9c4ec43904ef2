"""What well-known methods of tokens are called with: ERC-20, ERC-721 and ERC-1155."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from chassis.ethereum import ADDRESS_BYTES

from .operation import Fact, Facts

SELECTOR_BYTES = 4
WORD_BYTES = 32

_Arguments: TypeAlias = tuple[tuple[str, str], ...]

_FROM, _TO = ("from", "address"), ("to", "address")
_SPENDER, _VALUE = ("spender", "address"), ("value", "uint256")

# By selector. `value` is an amount, or of ERC-721, which has the same selectors, the id of a token.
_METHODS: Mapping[str, tuple[str, _Arguments]] = {
    "a9059cbb": ("transfer", (_TO, _VALUE)),
    "23b872dd": ("transferFrom", (_FROM, _TO, _VALUE)),
    "42842e0e": ("safeTransferFrom", (_FROM, _TO, _VALUE)),
    "b88d4fde": ("safeTransferFrom", (_FROM, _TO, _VALUE)),
    "095ea7b3": ("approve", (_SPENDER, _VALUE)),
    "39509351": ("increaseAllowance", (_SPENDER, _VALUE)),
    "a457c2d7": ("decreaseAllowance", (_SPENDER, _VALUE)),
    "a22cb465": ("setApprovalForAll", (("operator", "address"), ("approved", "bool"))),
}


def call_facts(data: bytes) -> Facts:
    """Return the method and its arguments as facts, none of a call that cannot be read for sure.

    What follows the arguments is not looked at, as contracts do not look at it either.
    """
    name, arguments = _METHODS.get(data[:SELECTOR_BYTES].hex(), ("", ()))
    facts: dict[str, Fact] = {"call.method": name}
    for index, (argument, kind) in enumerate(arguments):
        start = SELECTOR_BYTES + index * WORD_BYTES
        fact = _fact(kind, data[start : start + WORD_BYTES])
        if fact is None:
            return {}
        facts[f"call.{argument}"] = fact
    return facts if name else {}


def _fact(kind: str, word: bytes) -> Fact | None:
    """Return a value, or None of what some contracts read in another way than others."""
    if len(word) != WORD_BYTES:
        return None
    number = int.from_bytes(word)
    match kind:
        case "address":
            is_clean = not any(word[:-ADDRESS_BYTES])
            return f"0x{word[-ADDRESS_BYTES:].hex()}" if is_clean else None
        case "bool":
            return bool(number) if number <= 1 else None
    return number
