"""The values of the EVM, as arguments and answers have them: whole numbers are texts."""

from __future__ import annotations

import re

from pydantic import JsonValue

from .. import Result
from ..keyed import told

# The most that a number of the EVM can be.
WORD_MAX = 2**256 - 1

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
HASH = re.compile(r"0x[0-9a-fA-F]{64}")
HEX = re.compile(r"0x(?:[0-9a-fA-F]{2}){0,65536}")
HEX_CHARACTERS_MAX = 2 + 2 * 65_536

TEXT: JsonValue = {"type": "string"}


def address(description: str) -> JsonValue:
    """Return the schema of an address."""
    return {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "description": description}


def amount(description: str) -> JsonValue:
    """Return the schema of a whole number, which a text has exactly."""
    return {"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "description": description}


def too_large(*numbers: int) -> Result | None:
    """Return a refusal if a number is none of the EVM."""
    if max(numbers) <= WORD_MAX:
        return None
    return told("VALUE_TOO_LARGE", "a number is beyond 2^256 - 1; give a smaller one")
