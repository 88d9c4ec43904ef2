"""Keyed hashes, with which webhooks and exchanges authenticate messages."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import ClassVar

from chassis.fields import require_size

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import HmacKey, LoadedKey
from .operation import Facts, fitting

MESSAGE_BYTES_MAX = 64 * 1024


class Algorithm(Enum):
    SHA256 = "sha256"
    SHA512 = "sha512"


@dataclass(frozen=True)
class Hmac:
    """The HMAC (RFC 2104) of a message."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.HMAC})
    name: ClassVar[str] = "hmac"

    algorithm: Algorithm
    message: bytes = field(repr=False)

    def __post_init__(self) -> None:
        require_size("message", self.message, size_max=MESSAGE_BYTES_MAX)

    def facts(self) -> Facts:
        return {"algorithm": self.algorithm.value, "message_bytes": len(self.message)}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return the code, 32 or 64 bytes."""
        return hmac.digest(fitting(key, HmacKey).value, self.message, self.algorithm.value)
