"""Results that say with which key they were made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import PUBLIC_KINDS, LoadedKey, PublicKey, public_key_of
from .operation import Facts, Operation

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Attributed(Generic[ResultT]):
    """What an operation gave, and the public half of its key, if that has one."""

    result: ResultT
    public_key: PublicKey | None


@dataclass(frozen=True)
class Attribute(Generic[ResultT]):
    """Perform an operation, and say with which key."""

    operation: Operation[ResultT]

    @property
    def kinds(self) -> frozenset[Kind]:
        return self.operation.kinds

    @property
    def name(self) -> str:
        return self.operation.name

    def facts(self) -> Facts:
        return self.operation.facts()

    def perform(
        self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes
    ) -> Attributed[ResultT]:
        """Do it."""
        result = self.operation.perform(key, now=now, random_bytes=random_bytes)
        public = public_key_of(key) if key.kind in PUBLIC_KINDS else None
        return Attributed(result, public)
