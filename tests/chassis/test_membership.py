"""Membership: a certificate is replaced in time, whatever the issuer and the clock do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from chassis.certificates import Revoked
from chassis.errors import CertificateRevoked, PeerUnavailable, RevocationsUnknown
from chassis.membership import Membership
from tests.keymanager.authorities import TestIssuer, an_authority
from tests.keymanager.vaults import HandSetClock


class FlakyIssuer(TestIssuer):
    """An issuer that is down for so many enrolments."""

    def __init__(self, clock: HandSetClock) -> None:
        super().__init__(an_authority(clock), "linker")
        self.down = 0
        self.issued = 0
        self.told = asyncio.Event()

    async def enrol(self, request: bytes, nonce: bytes, evidence: bytes) -> Sequence[bytes]:
        """Return a certificate, or be down."""
        if self.down:
            self.down -= 1
            raise PeerUnavailable("keymanager")
        self.issued += 1
        self.told.set()
        return await super().enrol(request, nonce, evidence)

    async def wait_for(self, issued: int) -> None:
        """Return when so many certificates were issued."""
        async with asyncio.timeout(5):
            while self.issued < issued:
                self.told.clear()
                await self.told.wait()


class Naps:
    """Sleeps that take no time, but let others work."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, seconds: float) -> None:
        """Nap."""
        self.count += 1
        await asyncio.sleep(0)


async def test_an_issuer_that_is_down_is_asked_until_it_answers() -> None:
    clock, naps = HandSetClock(), Naps()
    issuer = FlakyIssuer(clock)
    issuer.down = 7
    membership = Membership(issuer, issuer, clock=clock, sleep=naps)

    await membership.enrol()

    assert naps.count == 7
    assert membership.identity.certificate.role == "linker"


async def test_a_certificate_is_replaced_at_two_thirds_of_its_life() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock)

    await membership.enrol()

    life = membership.identity.certificate.not_after - clock.now()
    assert membership.identity.renew_time == clock.now() + life * 2 / 3


async def test_a_clock_that_jumps_ahead_is_noticed() -> None:
    """As it does when a machine has slept: timers have not counted, the certificate has ended."""
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock)
    await membership.enrol()
    async with membership.kept():
        clock.advance(timedelta(hours=8))

        await issuer.wait_for(2)

    assert membership.identity.certificate.not_after > clock.now()


async def test_each_certificate_has_a_key_of_its_own() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock)
    await membership.enrol()
    before = membership.identity

    await membership.enrol()

    assert membership.identity.private_key != before.private_key


async def test_who_is_refused_as_revoked_renews_at_once() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock, sleep=Naps())
    await membership.enrol()
    refusals = iter([CertificateRevoked()])

    async def follow() -> AsyncIterator[Revoked]:
        for refusal in refusals:
            raise refusal
        await asyncio.Event().wait()
        yield Revoked()

    async with membership.kept(follow):
        await issuer.wait_for(2)


async def test_what_is_revoked_stays_known_when_the_source_is_gone() -> None:
    clock, naps = HandSetClock(), Naps()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock, sleep=naps)
    await membership.enrol()
    states = iter([Revoked(frozenset({"spiffe://actionvm/service/gas"}))])
    gone = asyncio.Event()

    async def follow() -> AsyncIterator[Revoked]:
        for state in states:
            yield state
        gone.set()
        raise PeerUnavailable("keymanager")

    async with membership.kept(follow):
        async with asyncio.timeout(5):
            await gone.wait()

        assert membership.revoked().identities == {"spiffe://actionvm/service/gas"}


async def test_who_has_not_heard_what_is_revoked_says_so() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock)
    await membership.enrol()

    await membership.informed(0.0)

    with pytest.raises(RevocationsUnknown):
        membership.revoked()


async def test_who_waits_for_what_is_revoked_has_heard_it_then() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock, sleep=Naps())
    await membership.enrol()
    failures = iter([PeerUnavailable("keymanager")] * 3)

    async def follow() -> AsyncIterator[Revoked]:
        for failure in failures:
            raise failure
        yield Revoked(serials=frozenset({7}))
        await asyncio.Event().wait()

    async with membership.kept(follow):
        await membership.informed(5.0)

        assert membership.revoked().serials == {7}


async def test_the_private_key_is_in_no_repr() -> None:
    clock = HandSetClock()
    issuer = FlakyIssuer(clock)
    membership = Membership(issuer, issuer, clock=clock)
    await membership.enrol()

    assert "PRIVATE" not in repr(membership.identity)
    assert "key=" not in repr(issuer._authority).split("certificate=")[0]
