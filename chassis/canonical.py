"""Canonical JSON (RFC 8785) with its digest: one value, one sequence of bytes, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
