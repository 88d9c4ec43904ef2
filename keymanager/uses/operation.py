"""What every use of a key looks like to those who decide on it, perform it and record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar

from chassis.errors import InvalidField

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import LoadedKey

# What a policy may look at. Integers are as large as the payload has them: up to 512 bits.
Fact: TypeAlias = str | int | bool
Facts: TypeAlias = Mapping[str, Fact]

# A text from inside a payload that is longer is no fact.
FACT_CHARACTERS_MAX = 256

KeyT = TypeVar("KeyT", bound=LoadedKey)
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Operation(Protocol[ResultT_co]):
    """One use of a key; making one from hostile input raises `InvalidField` with the field."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """Return with keys of which kinds it works."""
        ...

    @property
    def name(self) -> str:
        """Return what policies and records call it."""
        ...

    def facts(self) -> Facts:
        """Return what is to be decided upon; it depends on the request alone, never on the key."""
        ...

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> ResultT_co:
        """Do it; a key of a kind that is not in `kinds` raises `InvalidField`."""
        ...


@dataclass(frozen=True)
class Headers:
    """HTTP headers that authenticate one request, names as they are usually written."""

    values: Mapping[str, str] = field(repr=False)


def fitting(key: LoadedKey, wanted: type[KeyT]) -> KeyT:
    """Return the key as one of the wanted kind."""
    if not isinstance(key, wanted):
        raise InvalidField("key", f"is of kind {key.kind.name.lower()}, which cannot do this")
    return key
