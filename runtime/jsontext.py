"""JSON text from outside, read strictly: what comes out can be written again."""

from __future__ import annotations

import json
from typing import NoReturn

from pydantic import JsonValue


def read_json(text: str) -> JsonValue:
    """Return the value, or raise `ValueError` with what is wrong.

    Python's own reader takes `NaN`, halves of surrogate pairs, and any depth until the stack ends.
    """
    try:
        value: JsonValue = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("contains half of a surrogate pair") from error
    return value


def write_json(value: JsonValue) -> str:
    """Return compact JSON text with its keys in order."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"contains {name}, which is not JSON")
