"""What a service does first: it becomes a member of its system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from chassis.clock import SystemClock
from chassis.config import ServiceConfig, read_token
from chassis.membership import Attester, Membership
from chassis.tls import Bearer, Member, Mutual

from .issuer import ISSUER, IssuerClient, revocations_over
from .platform import PlatformAttester

INFORMED_SECONDS = 5.0


@asynccontextmanager
async def join(config: ServiceConfig, attester: Attester | None = None) -> AsyncIterator[Member]:
    """Enrol with the key manager, and stay a member while the block runs.

    What this process is, the platform says; its socket is in the settings.
    """
    if config.tls == "off":
        yield Bearer(read_token(config))
        return
    assert config.ca_file is not None, "the settings were checked"
    assert config.platform_socket is not None, "they were"
    async with AsyncExitStack() as stack:
        issuer = IssuerClient(config.issuer_address, config.ca_file)
        stack.push_async_callback(issuer.close)
        measured = attester or PlatformAttester(config.platform_socket)
        membership = Membership(issuer, measured, clock=SystemClock())
        await membership.enrol()
        member = Mutual(membership)
        channel = await stack.enter_async_context(
            member.connect(config.issuer_peer_address, ISSUER)
        )
        await stack.enter_async_context(membership.kept(revocations_over(channel)))
        # Who serves later than that refuses its peers until it knows.
        await membership.informed(INFORMED_SECONDS)
        yield member
