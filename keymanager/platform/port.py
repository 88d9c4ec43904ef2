"""The platform as the key manager sees it."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class SealPolicy(Enum):
    """Who may unseal: this very code, or every release of its signer from this version on."""

    CODE = "code"
    SIGNER = "signer"


class Unsealable(Exception):
    """The platform does not open this for this process."""


class Platform(Protocol):
    """Seals for measured code, and counts what nobody can set back."""

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes: ...

    def unseal(self, sealed: bytes, label: str) -> bytes: ...

    def read_counter(self) -> int: ...

    def increment_counter(self) -> int: ...
