"""Revocations: an identity until it is let in again, a certificate until it would have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from chassis.certificates import Certificate, Revoked

from ..journal import Asker, Operation
from ..store import VaultStore
from .members import REVOCATIONS_MAX, Admit, Bar, Enrol, RevokeCertificate, revoked_of


class Revocations:
    """What is revoked, as the vault has it; what a method did is on disk when it returns.

    Each method that changes something may raise `AuditUnavailable` and `RolledBack`.
    """

    def __init__(
        self,
        store: VaultStore,
        perform: Callable[[Operation], Awaitable[object]],
        *,
        serials_max: int = REVOCATIONS_MAX,
    ) -> None:
        """`perform` is that of the vault on the store."""
        self._store = store
        self._perform = perform
        self._serials_max = serials_max
        self._seen: tuple[Mapping[str, int], Revoked] = ({}, Revoked())

    def present(self) -> Revoked:
        """Return what is revoked now."""
        found, revoked = self._seen
        if (present := self._store.memory.revocations) is not found:
            revoked = revoked_of(present)
            self._seen = present, revoked
        return revoked

    def is_barred(self, identity: str) -> bool:
        """Tell whether an identity may not enrol."""
        return identity in self.present().identities

    async def bar(self, identity: str, *, by: Asker) -> None:
        """Refuse an identity from now on, with every certificate that it has."""
        await self._perform(Bar(by, identity))

    async def admit(self, identity: str, *, by: Asker) -> None:
        """Let an identity in again."""
        await self._perform(Admit(by, identity))

    async def revoke(self, serial: int, *, by: Asker) -> None:
        """Refuse one certificate; raise `TooManyRevocations`."""
        await self._perform(RevokeCertificate(by, serial, self._serials_max))

    async def enrolled(self, certificate: Certificate) -> None:
        """Leave a record of a certificate before it is handed out; raise `IdentityRevoked`."""
        by = Asker(certificate.role)
        await self._perform(Enrol(by, certificate.identity, certificate.serial))
