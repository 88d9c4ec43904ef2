"""Starts the key manager: `python -m keymanager`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.clock import SystemClock
from chassis.config import load
from chassis.database import open_database
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry

from .config import KeymanagerConfig
from .errors import SealBroken
from .root import RootKeyUnusable, open_root
from .service import KeymanagerService, hosted
from .store import TABLES, SecretStore
from .vault import Vault


@asynccontextmanager
async def open_service(config: KeymanagerConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open store and root key, and make the keys of the services at the first start."""
    folder = ensure_private_folder(config.data_dir)
    engine = open_database(folder / "keymanager.db", TABLES)
    try:
        store = SecretStore(engine)
        root = open_root(folder / "root.key", os.urandom, may_make=store.is_empty())
        vault = Vault(store, root, clock=SystemClock(), random_bytes=os.urandom)
        try:
            vault.ensure_service_keys()
        except SealBroken as error:
            raise RootKeyUnusable(
                f"{folder / 'root.key'} does not open {error.name}: it belongs to another "
                "database, or the row was changed; restore both files from the same backup"
            ) from error
        yield hosted(KeymanagerService(vault))
    finally:
        engine.dispose()


def main() -> None:
    """Serve until stopped; without its root key exit with 1 and touch nothing."""
    config = load(KeymanagerConfig)
    try:
        run("keymanager", config, open_service)
    except RootKeyUnusable as error:
        sys.stderr.write(f"keymanager: {error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
