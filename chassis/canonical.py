"""Canonical JSON (RFC 8785) with its digest: one value, one sequence of bytes, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias, cast

import rfc8785

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"


def canonical_json(value: Json) -> bytes:
    """Return the canonical bytes; integers beyond 2^53 are a bug of the caller."""
    # rfc8785 names dict and list in its type; what it accepts is wider.
    return rfc8785.dumps(cast("str", value))


def sha256_hex(content: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def time_text(time: datetime) -> str:
    """Return a moment in UTC with all six digits, such as `2026-01-31T12:00:00.000000Z`."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Return the moment that `time_text` wrote; `ValueError` for any other text."""
    # Python reads many more spellings than this one.
    time = datetime.fromisoformat(text) if text.endswith("Z") else None
    if time is None or time_text(time) != text:
        raise ValueError("not a moment as it is written here")
    return time
