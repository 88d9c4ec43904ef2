"""The half of a key that everybody may see, for who may know that there is the key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import PUBLIC_KINDS, LoadedKey, PublicKey, public_key_of
from .operation import Facts


@dataclass(frozen=True)
class ShowPublicKey:
    """Show the public key of a key that signs."""

    kinds: ClassVar[frozenset[Kind]] = PUBLIC_KINDS
    name: ClassVar[str] = "public-key"

    def facts(self) -> Facts:
        return {}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> PublicKey:
        """Return it."""
        return public_key_of(key)
