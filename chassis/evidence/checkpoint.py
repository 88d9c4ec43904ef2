"""Signed statements of how far a log was, and of what was in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..canonical import Json, canonical_json, time_text
from .log import Log

# Signs with the Ed25519 key of the log, which stays where it is.
Sign: TypeAlias = Callable[[bytes], bytes]

PREFIX = b"actionvm/checkpoint/v1\n"
RECORDS_MAX = 1_024
AGE_MAX = timedelta(seconds=1)


@dataclass(frozen=True)
class Checkpoint:
    """A promise: the log had these records, and every later state of it begins with them.

    `counter` is the monotonic counter of the platform at that time, which does not go back when
    the disk does. `key` is the public key that signed.
    """

    ledger: str
    size: int
    root: bytes
    head: bytes
    counter: int
    time: datetime
    key: bytes
    signature: bytes = b""

    @property
    def facts(self) -> dict[str, Json]:
        """Return what is signed, as JSON."""
        return {
            "counter": self.counter,
            "head": self.head.hex(),
            "key": self.key.hex(),
            "ledger": self.ledger,
            "root": self.root.hex(),
            "size": self.size,
            "time": time_text(self.time),
        }

    def describes(self, log: Log) -> bool:
        """Tell whether the log was in exactly this state."""
        return (self.size, self.root, self.head) == (log.size, log.root, log.head)


def sign_checkpoint(
    log: Log, *, ledger: str, counter: int, time: datetime, key: bytes, sign: Sign
) -> Checkpoint:
    """Return a checkpoint of the present state; `sign` belongs to the public key `key`."""
    checkpoint = Checkpoint(ledger, log.size, log.root, log.head, counter, time, key)
    return replace(checkpoint, signature=sign(PREFIX + canonical_json(checkpoint.facts)))


def verify_checkpoint(checkpoint: Checkpoint) -> bool:
    """Tell whether the key that it names signed it; whose key that is, the caller must know."""
    content = PREFIX + canonical_json(checkpoint.facts)
    return is_signed(content, checkpoint.signature, checkpoint.key)


def is_signed(content: bytes, signature: bytes, key: bytes) -> bool:
    """Tell whether an Ed25519 key signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except (InvalidSignature, ValueError):  # ValueError: no key has this length
        return False
    return True


def is_checkpoint_due(log: Log, last: Checkpoint | None, now: datetime) -> bool:
    """Tell whether there are records since the last checkpoint, and enough of them or of time."""
    if last is None:
        return log.size > 0
    age = now - last.time
    # A clock that was put back must not delay checkpoints.
    is_old = not timedelta(0) <= age < AGE_MAX
    return log.size > last.size and (is_old or log.size - last.size >= RECORDS_MAX)
