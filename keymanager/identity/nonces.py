"""Nonces of enrolments: each is good once, for a minute; to ask for many costs nobody anything."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from threading import Lock

from chassis.certificates import NONCE_BYTES
from chassis.clock import Clock

from ..errors import NonceInvalid
from ..sealing import RandomBytes, to_microseconds

VALIDITY = timedelta(seconds=60)
USED_MAX = 10_000

_TIME_BYTES, _RANDOM_BYTES = 8, 8
_CONTENT_BYTES = _TIME_BYTES + _RANDOM_BYTES


class Nonces:
    """What a nonce says is in it, under a keyed hash; only those that were used are remembered.

    A restart draws another key, and so forgets what was given out.
    """

    def __init__(self, *, clock: Clock, random_bytes: RandomBytes) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._key = random_bytes(32)
        self._used: dict[bytes, datetime] = {}
        # Enrolments run in threads, and two with one nonce must not both find it unused.
        self._alone = Lock()

    def issue(self) -> bytes:
        """Return a new nonce of 32 bytes."""
        time = to_microseconds(self._clock.now()).to_bytes(_TIME_BYTES)
        content = time + self._random_bytes(_RANDOM_BYTES)
        return content + self._tag(content)

    def check(self, nonce: bytes) -> None:
        """Raise `NonceInvalid` unless it was issued here, less than a minute ago, and not used."""
        content, tag = nonce[:_CONTENT_BYTES], nonce[_CONTENT_BYTES:]
        if not hmac.compare_digest(tag, self._tag(content)):
            raise NonceInvalid("was not issued here since the last start")
        issued = int.from_bytes(content[:_TIME_BYTES])
        age = to_microseconds(self._clock.now()) - issued
        if not 0 <= age <= VALIDITY / timedelta(microseconds=1):
            raise NonceInvalid("is older than a minute")
        if nonce in self._used:
            raise NonceInvalid("was used before")

    def use(self, nonce: bytes) -> None:
        """Let nobody use it again; raise `NonceInvalid` as `check` does."""
        with self._alone:
            self.check(nonce)
            now = self._clock.now()
            self._used = {known: end for known, end in self._used.items() if end >= now}
            if len(self._used) >= USED_MAX:
                raise NonceInvalid("cannot be remembered: too many enrolled in this minute")
            self._used[nonce] = now + VALIDITY

    def _tag(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[: NONCE_BYTES - _CONTENT_BYTES]
