"""What the key manager needs to know who belongs to a system, in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chassis.clock import Clock, SystemClock
from chassis.membership import Membership
from chassis.server import Hosted
from keymanager.identity.authority import Authority, open_authority
from keymanager.identity.enrolment import Enrolment
from keymanager.identity.members import REVOCATIONS_MAX
from keymanager.identity.nonces import Nonces
from keymanager.identity.quotes import trusting_own
from keymanager.identity.revocations import Revocations
from keymanager.identity.service import SERVICES
from keymanager.services.hosting import hosted
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform

from .vaults import Bench

VALIDITY = timedelta(minutes=10)


class MemoryShelf:
    """A shelf that seals nothing."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def load(self) -> bytes | None:
        """Return what was stored."""
        return self.content

    def store(self, content: bytes) -> None:
        """Keep it."""
        self.content = content


def an_authority(
    clock: Clock | None = None, *, seed: int = 1, validity: timedelta = VALIDITY
) -> Authority:
    """Return an authority of its own for each seed."""
    dice = random.Random(seed)
    return open_authority(
        MemoryShelf(),
        validity=validity,
        clock=clock or SystemClock(),
        random_bytes=dice.randbytes,
    )


def identity_parts(
    clock: Clock | None = None,
    *,
    platform: FakePlatform | None = None,
    authority: Authority | None = None,
    vault: Vault | None = None,
    serials_max: int = REVOCATIONS_MAX,
) -> tuple[Enrolment, Revocations]:
    """Return what the servicer of the key manager takes beside the vault."""
    clock = clock or SystemClock()
    authority = authority or an_authority(clock)
    vault = vault or Bench().vault
    revocations = Revocations(vault._store, vault.perform, serials_max=serials_max)
    appraiser = trusting_own(platform or FakePlatform())
    nonces = Nonces(clock=clock, random_bytes=random.Random(2).randbytes)
    return Enrolment(authority, appraiser, nonces, revocations, roles=SERVICES), revocations


class TestIssuer:
    """The port `Issuer`, for any role, without evidence; also the port `Attester`."""

    __test__ = False

    def __init__(self, authority: Authority, role: str) -> None:
        self._authority = authority
        self._role = role

    async def challenge(self) -> bytes:
        """Return nothing."""
        return b""

    async def enrol(self, request: bytes, nonce: bytes, evidence: bytes) -> Sequence[bytes]:
        """Return a certificate for the key of the request."""
        public_key = x509.load_der_x509_csr(request).public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        return [self._authority.issue(self._role, public_key)]

    def authority(self) -> bytes:
        """Return the certificate of the authority."""
        return self._authority.pem

    def quote(self, report_data: bytes) -> bytes:
        """Return nothing."""
        return b""


async def enrolled(authority: Authority, role: str, *, clock: Clock | None = None) -> Membership:
    """Return who has a certificate of an authority."""
    issuer = TestIssuer(authority, role)
    membership = Membership(issuer, issuer, clock=clock or SystemClock())
    await membership.enrol()
    return membership


def host(
    bench: Bench,
    *parts: Any,  # noqa: ANN401  # what `identity_parts` returns
    holders_file: Path | None = None,
) -> Hosted:
    """Return all contracts of the key manager in front of a bench."""
    enrolment, revocations = parts or identity_parts(bench.clock, vault=bench.vault)
    return hosted(
        bench.vault,
        bench.platform,
        enrolment,
        revocations,
        clock=bench.clock,
        random_bytes=bench.dice.randbytes,
        holders_file=holders_file,
    )
