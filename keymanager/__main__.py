"""Starts the key manager: `python -m keymanager`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from datetime import timedelta

from chassis.clock import SystemClock
from chassis.config import load
from chassis.errors import ServiceError
from chassis.log import log
from chassis.membership import Membership
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry
from chassis.tls import Mutual

from .config import KeymanagerConfig
from .database import DatabaseUnusable, in_words, open_vault_store
from .epochs import EpochUnusable
from .errors import PlatformSilent, RolledBack
from .first_release import RootKeyUnusable
from .identity.authority import Authority, open_authority
from .identity.enrolment import Enrolment
from .identity.former import RevocationsUnusable, adopt_revocations
from .identity.nonces import Nonces
from .identity.own import OwnIssuer, publish
from .identity.quotes import QuoteAppraiser, trusting_key, trusting_own
from .identity.revocations import Revocations
from .identity.service import SERVICES
from .own_values import OwnValue
from .platform.opening import open_platform, open_platformd
from .platform.port import Platform, PlatformUnavailable
from .services.hosting import hosted
from .signing import AUTHORITY_KEY
from .vault import Vault

TEND_SECONDS = 10.0
# Why it does not start; what each of them says, a person can act on.
_UNABLE = (
    DatabaseUnusable,
    RootKeyUnusable,
    EpochUnusable,
    RevocationsUnusable,
    PlatformSilent,
    PlatformUnavailable,
)


def open_service(
    config: KeymanagerConfig, _telemetry: Telemetry
) -> AbstractAsyncContextManager[Hosted]:
    """Open the platform, and on it everything else."""
    platform = open_platform(config, random_bytes=os.urandom)
    if config.platform == "soft" or config.tls == "off":
        return open_on(platform, config)
    return open_on(platform, config, services_on=open_platformd(config, random_bytes=os.urandom))


@asynccontextmanager
async def open_on(
    platform: Platform, config: KeymanagerConfig, *, services_on: Platform | None = None
) -> AsyncIterator[Hosted]:
    """Open store and authority on a platform, and tend the vault while it serves.

    Where another platform measures the services, the settings name its key.
    """
    folder, clock = ensure_private_folder(config.data_dir), SystemClock()
    async with AsyncExitStack() as stack:
        engine, store = open_vault_store(
            folder,
            platform,
            clock=clock,
            random_bytes=os.urandom,
            accepts_rollback=config.accept_rollback,
        )
        stack.callback(engine.dispose)
        vault = Vault(store)
        validity = timedelta(seconds=config.certificate_seconds)
        shelf = OwnValue(store, AUTHORITY_KEY)
        with in_words(folder / "keymanager.db"):
            authority = open_authority(
                shelf, validity=validity, clock=clock, random_bytes=os.urandom
            )
            adopt_revocations(folder, store)
        revocations = Revocations(store, vault.perform)
        nonces = Nonces(clock=clock, random_bytes=os.urandom)
        appraiser = _open_appraiser(config, platform, services_on)
        enrolment = Enrolment(authority, appraiser, nonces, revocations, roles=SERVICES)
        served = hosted(
            vault,
            platform,
            enrolment,
            revocations,
            holders_file=config.holders_file,
            clock=clock,
            random_bytes=os.urandom,
        )
        await stack.enter_async_context(_tended(vault))
        if config.tls == "off":
            yield served
        else:
            yield served.of(await _become_member(config, authority, revocations, stack))


def _open_appraiser(
    config: KeymanagerConfig, platform: Platform, services_on: Platform | None
) -> QuoteAppraiser:
    if services_on is None:
        return trusting_own(platform)
    key = bytes.fromhex(config.platformd_key)
    return trusting_key(services_on, key, random_bytes=os.urandom)


async def _become_member(
    config: KeymanagerConfig, authority: Authority, revocations: Revocations, stack: AsyncExitStack
) -> Mutual:
    """Give itself a certificate, and say what all others are to believe."""
    assert config.ca_file is not None, "the settings were checked"
    issuer = OwnIssuer(authority)
    membership = Membership(issuer, issuer, clock=authority.clock)
    await membership.enrol()
    await stack.enter_async_context(membership.kept())
    publish(authority, config.ca_file)
    return Mutual(membership, revocations.present)


@asynccontextmanager
async def _tended(vault: Vault) -> AsyncIterator[None]:
    tending = asyncio.create_task(_tend(vault))
    try:
        yield
    finally:
        tending.cancel()
        with suppress(asyncio.CancelledError):
            await tending


async def _tend(vault: Vault) -> None:
    while True:
        try:
            await vault.tend()
        except ServiceError as error:
            # The disk may be full, or the platform away; the next time may be better.
            log.warning("vault.not_tended", reason=error.reason)
        await asyncio.sleep(TEND_SECONDS)


def main() -> None:
    """Serve until stopped; where it would lose secrets, exit with 1 and touch nothing."""
    config = load(KeymanagerConfig)
    try:
        run("keymanager", config, open_service)
    except RolledBack as error:
        way_out = "KEYMANAGER_ACCEPT_ROLLBACK=true accepts it at one start"
        sys.stderr.write(f"keymanager: {error}; {way_out}\n")
        raise SystemExit(1) from error
    except _UNABLE as error:
        sys.stderr.write(f"keymanager: {error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
