"""JSON text from outside, read strictly: what comes out can be written again."""

from __future__ import annotations

import json
from typing import NoReturn

from pydantic import JsonValue

from .amounts import Fractional


def read_json(text: str, *, is_unique: bool = False) -> JsonValue:
    """Return the value, or raise `ValueError` with what is wrong.

    Python's own reader takes `NaN`, halves of surrogate pairs, and any depth until the stack ends.
    Of names that come twice in an object it takes the last, which `is_unique` refuses: somebody
    else might read the first.
    """
    decoder = _UNIQUE if is_unique else _STRICT
    try:
        value: JsonValue = decoder.decode(text)
        # What is written again has neither infinities nor halves of pairs.
        _WRITER.encode(value).encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("contains half of a surrogate pair") from error
    return value


def read_exact(text: str) -> object:
    """Return a value that `read_json` has taken, with its fractions as they are written."""
    value: object = json.loads(text, parse_float=Fractional)
    return value


def write_json(value: JsonValue) -> str:
    """Return compact JSON text with its keys in order."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _refuse_repeated(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("contains a name twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"contains {name}, which is not JSON")


# Made once: making them takes longer than reading what models write.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)
_UNIQUE = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated)
_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
