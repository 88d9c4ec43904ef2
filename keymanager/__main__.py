"""Starts the key manager: `python -m keymanager`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from chassis.clock import SystemClock
from chassis.config import load
from chassis.errors import ServiceError
from chassis.log import log
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry

from .config import KeymanagerConfig
from .database import open_vault_store
from .epochs import EpochUnusable
from .errors import PlatformSilent, RolledBack
from .first_release import RootKeyUnusable
from .platform.opening import open_platform
from .platform.port import PlatformUnavailable
from .service import KeymanagerService, hosted
from .vault import Vault

TEND_SECONDS = 10.0


@asynccontextmanager
async def open_service(config: KeymanagerConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open platform and store, and tend the vault while it serves."""
    folder = ensure_private_folder(config.data_dir)
    engine, store = open_vault_store(
        folder,
        open_platform(config, random_bytes=os.urandom),
        clock=SystemClock(),
        random_bytes=os.urandom,
        accepts_rollback=config.accept_rollback,
    )
    try:
        vault = Vault(store)
        tending = asyncio.create_task(_tend(vault))
        yield hosted(KeymanagerService(vault))
        tending.cancel()
        with suppress(asyncio.CancelledError):
            await tending
    finally:
        engine.dispose()


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
    except (RootKeyUnusable, EpochUnusable, PlatformSilent, PlatformUnavailable) as error:
        sys.stderr.write(f"keymanager: {error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
