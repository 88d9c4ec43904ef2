"""Revocations: an identity until it is let in again, a certificate until it would have ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from chassis.certificates import Revoked
from chassis.clock import Clock

from ..errors import TooManyRevocations

REVOCATIONS_MAX = 10_000


class RevocationStore(Protocol):
    """Where revocations are kept; each method is durable when it returns."""

    def barred(self) -> frozenset[str]:
        """Return the identities that were revoked."""

    def serials(self) -> Mapping[int, datetime]:
        """Return serial number of a certificate -> when it has ended by itself."""

    def bar(self, identity: str) -> None:
        """Keep an identity; a repeat changes nothing."""

    def admit(self, identity: str) -> None:
        """Forget an identity; a repeat changes nothing."""

    def revoke(self, serial: int, end: datetime, *, now: datetime) -> None:
        """Keep a serial number, and forget those that have ended."""


class Revocations:
    """What is revoked, in memory and in the store; used from many threads."""

    def __init__(self, store: RevocationStore, *, validity: timedelta, clock: Clock) -> None:
        self._store = store
        self._validity = validity
        self._clock = clock
        self._lock = Lock()
        self._barred = store.barred()
        self._serials = dict(store.serials())
        self._present = self._gather()

    def present(self) -> Revoked:
        """Return what is revoked now."""
        return self._present

    def is_barred(self, identity: str) -> bool:
        """Tell whether an identity may not enrol."""
        return identity in self._present.identities

    def bar(self, identity: str) -> None:
        """Refuse an identity from now on, with every certificate that it has."""
        with self._lock:
            self._store.bar(identity)
            self._barred = self._barred | {identity}
            self._present = self._gather()

    def admit(self, identity: str) -> None:
        """Let an identity in again."""
        with self._lock:
            self._store.admit(identity)
            self._barred = self._barred - {identity}
            self._present = self._gather()

    def revoke(self, serial: int) -> None:
        """Refuse one certificate; none lives longer than from now until its `validity` is over."""
        with self._lock:
            now = self._clock.now()
            self._serials = {known: end for known, end in self._serials.items() if end > now}
            if len(self._serials) >= REVOCATIONS_MAX and serial not in self._serials:
                raise TooManyRevocations(REVOCATIONS_MAX)
            end = now + self._validity
            self._store.revoke(serial, end, now=now)
            self._serials[serial] = end
            self._present = self._gather()

    def _gather(self) -> Revoked:
        return Revoked(self._barred, frozenset(self._serials))
