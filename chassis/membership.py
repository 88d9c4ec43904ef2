"""How a process gets the certificate that others know it by, keeps it fresh, and learns of revoked.

At two thirds of its life a certificate is replaced; what is open goes on, what is new uses the new.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from .certificates import (
    Certificate,
    Revoked,
    certificate_request,
    enrolment_report,
    private_pem,
    public_key_info,
    read_certificate,
)
from .clock import Clock
from .errors import CertificateRevoked, RevocationsUnknown, ServiceError
from .log import log

RETRY_SECONDS = 0.2
# A machine that slept has lost time that no timer counts, so the clock is looked at this often.
LOOK_SECONDS = 2.0

MakeKey: TypeAlias = Callable[[], ec.EllipticCurvePrivateKey]
Sleep: TypeAlias = Callable[[float], Awaitable[None]]
Follow: TypeAlias = Callable[[], AsyncIterator[Revoked]]


class Attester(Protocol):
    """The platform that a process runs on, which knows what the process is."""

    def quote(self, report_data: bytes) -> bytes:
        """Return a statement about this process that carries 64 bytes of its choice."""


class Issuer(Protocol):
    """Who gives certificates; what it raises is a `ServiceError`."""

    async def challenge(self) -> bytes:
        """Return a nonce, which one enrolment can use."""

    async def enrol(self, request: bytes, nonce: bytes, evidence: bytes) -> Sequence[bytes]:
        """Return a chain of certificates in DER, the one for the key of the request first."""

    def authority(self) -> bytes:
        """Return the certificate of the authority in PEM; all others are checked against it."""


@dataclass(frozen=True)
class Identity:
    """What a process shows, and what it believes; all three in PEM, the key only in memory."""

    certificate: Certificate
    private_key: bytes = field(repr=False)
    chain: bytes
    authority: bytes
    renew_time: datetime


def make_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key; the system draws it."""
    return ec.generate_private_key(ec.SECP256R1())


class Membership:
    """The present certificate of this process, and what it knows of revoked ones."""

    def __init__(
        self,
        issuer: Issuer,
        attester: Attester,
        *,
        clock: Clock,
        make_key: MakeKey = make_key,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._issuer = issuer
        self._attester = attester
        self._clock = clock
        self._make_key = make_key
        self._sleep = sleep
        self._identity: Identity | None = None
        self._revoked: Revoked | None = None
        self._informed = asyncio.Event()
        self._must_renew = asyncio.Event()

    @property
    def identity(self) -> Identity:
        """Return what this process shows now."""
        assert self._identity is not None, "a process enrols before it speaks"
        return self._identity

    def revoked(self) -> Revoked:
        """Return what is revoked as far as this process knows.

        Raise `RevocationsUnknown` until it has heard that once: a peer may be anybody until then.
        """
        if self._revoked is None:
            raise RevocationsUnknown
        return self._revoked

    async def informed(self, seconds: float) -> None:
        """Return when this process knows what is revoked, or when that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._informed.wait()
        except TimeoutError:
            log.warning("revocations.late", seconds=seconds)

    async def enrol(self) -> None:
        """Get a certificate; as long as there is none to be had, try again."""
        problem = ""
        while True:
            try:
                self._identity = await self._enrol_once()
            except ServiceError as error:
                if error.reason != problem:
                    log.warning("identity.not_issued", reason=error.reason, problem=str(error))
                problem = error.reason
                await self._sleep(RETRY_SECONDS)
            else:
                self._must_renew.clear()
                certificate = self._identity.certificate
                log.info("identity.issued", identity=certificate.identity, until=self._until())
                return

    @asynccontextmanager
    async def kept(self, revocations: Follow | None = None) -> AsyncIterator[None]:
        """Renew, and follow what is revoked, while the block runs."""
        tasks = [asyncio.create_task(self.renew())]
        if revocations is not None:
            tasks.append(asyncio.create_task(self.follow(revocations)))
        for task in tasks:
            task.add_done_callback(_tell_a_bug)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def renew(self) -> None:
        """Replace each certificate in time, for ever."""
        while True:
            while not self._must_renew.is_set() and self._clock.now() < self.identity.renew_time:
                remaining = (self.identity.renew_time - self._clock.now()).total_seconds()
                await self._doze(min(LOOK_SECONDS, max(remaining, 0.0)))
            await self.enrol()

    async def follow(self, revocations: Follow) -> None:
        """Learn of each revocation at once, for ever; without a source keep what is known.

        A source that refuses this process itself raises `CertificateRevoked`.
        """
        is_told = False
        while True:
            try:
                async for revoked in revocations():
                    is_told = False
                    self._revoked = revoked
                    self._informed.set()
            except CertificateRevoked:
                # Perhaps somebody else has our key; with a new one he is out and we are not.
                self._must_renew.set()
            except ServiceError as error:
                if not is_told:
                    log.warning("revocations.unknown", reason=error.reason)
                is_told = True
            await self._sleep(RETRY_SECONDS)

    async def _enrol_once(self) -> Identity:
        key = self._make_key()
        nonce = await self._issuer.challenge()
        report = enrolment_report(nonce, public_key_info(key.public_key()))
        evidence = await asyncio.to_thread(self._attester.quote, report)
        chain = await self._issuer.enrol(certificate_request(key), nonce, evidence)
        now = self._clock.now()
        pems = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain]
        certificate = read_certificate(pems[0])
        return Identity(
            certificate=certificate,
            private_key=private_pem(key),
            chain=b"".join(pems),
            authority=self._issuer.authority(),
            renew_time=now + (certificate.not_after - now) * 2 / 3,
        )

    def _until(self) -> str:
        return self.identity.certificate.not_after.isoformat()

    async def _doze(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._must_renew.wait()
        except TimeoutError:
            return


def _tell_a_bug(task: asyncio.Task[None]) -> None:
    # Nobody waits for these tasks, and without them the certificate ends in some minutes.
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.error("identity.neglected", exc_info=bug)
