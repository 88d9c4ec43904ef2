"""What the one writer does about who belongs to the system: revoke, let in again, enrol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from chassis.certificates import Revoked

from ..batch import Batch
from ..config import CERTIFICATE_SECONDS_MAX
from ..errors import IdentityRevoked, TooManyRevocations
from ..journal import Asker, Entry
from ..rows import RevocationRow

REVOCATIONS_MAX = 10_000
# No certificate is valid for longer, whatever the settings say now or said before.
LIFE_MICROSECONDS = timedelta(seconds=CERTIFICATE_SECONDS_MAX) // timedelta(microseconds=1)

_SERIAL = "certificate/"


@dataclass(frozen=True)
class Bar:
    """Refuse an identity until it is let in again; a repeat changes nothing."""

    method: ClassVar[str] = "RevokeIdentity"

    by: Asker
    identity: str

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.facts = {"identity": self.identity}
        if self.identity not in _present(batch):
            _put(batch, self.identity, 0)


@dataclass(frozen=True)
class Admit:
    """Let an identity in again; a repeat changes nothing."""

    method: ClassVar[str] = "ReinstateIdentity"

    by: Asker
    identity: str

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.facts = {"identity": self.identity}
        if self.identity in _present(batch):
            _drop(batch, [self.identity])


@dataclass(frozen=True)
class RevokeCertificate:
    """Refuse one certificate until it has ended by itself; raise `TooManyRevocations`."""

    method: ClassVar[str] = "RevokeIdentity"

    by: Asker
    serial: int
    serials_max: int = REVOCATIONS_MAX

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.facts = {"serial_number": f"{self.serial:x}"}
        subject = f"{_SERIAL}{self.serial:x}"
        ends = {one: end for one, end in _present(batch).items() if end}
        ended = [one for one, end in ends.items() if end <= batch.microseconds]
        if subject not in ends and len(ends) - len(ended) >= self.serials_max:
            raise TooManyRevocations(self.serials_max)
        _drop(batch, ended)
        _put(batch, subject, batch.microseconds + LIFE_MICROSECONDS)


@dataclass(frozen=True)
class Enrol:
    """Hand a certificate out, unless its identity is revoked: `IdentityRevoked`."""

    method: ClassVar[str] = "Enrol"

    by: Asker
    identity: str
    serial: int

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.facts = {"identity": self.identity, "serial_number": f"{self.serial:x}"}
        if self.identity in _present(batch):
            raise IdentityRevoked(self.identity)


def revoked_of(revocations: Mapping[str, int]) -> Revoked:
    """Return what a memory has, as others are told."""
    identities = (subject for subject, end in revocations.items() if not end)
    serials = (subject.removeprefix(_SERIAL) for subject, end in revocations.items() if end)
    return Revoked(frozenset(identities), frozenset(int(serial, 16) for serial in serials))


def _present(batch: Batch) -> Mapping[str, int]:
    return batch.memory.revocations if batch.revocations is None else batch.revocations


def _put(batch: Batch, subject: str, end: int) -> None:
    batch.write(RevocationRow(subject, end))
    batch.revocations = {**_present(batch), subject: end}


def _drop(batch: Batch, subjects: list[str]) -> None:
    for subject in subjects:
        batch.delete(RevocationRow, subject)
    kept = _present(batch).items()
    batch.revocations = {subject: end for subject, end in kept if subject not in subjects}
