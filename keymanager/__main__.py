"""Starts the key manager: `python -m keymanager`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chassis.clock import SystemClock
from chassis.config import load
from chassis.database import open_database
from chassis.membership import Membership
from chassis.server import Hosted, ensure_private_folder, run
from chassis.telemetry import Telemetry
from chassis.tls import Mutual

from .config import KeymanagerConfig
from .errors import SealBroken
from .identity.authority import open_authority
from .identity.enrolment import Enrolment
from .identity.nonces import Nonces
from .identity.own import OwnIssuer, publish
from .identity.revocations import Revocations
from .identity.service import SERVICES
from .identity.store import TABLES as IDENTITY_TABLES
from .identity.store import SqlRevocationStore
from .identity.tokens import TokenAppraiser
from .root import RootKeyUnusable, open_root
from .service import KeymanagerService, hosted
from .store import TABLES, SecretStore
from .vault import Vault

# Where the authority lies sealed.
AUTHORITY_KEY = "keys/ca"


@asynccontextmanager
async def open_service(config: KeymanagerConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Open store and root key, and make the keys of the services at the first start."""
    folder = ensure_private_folder(config.data_dir)
    async with AsyncExitStack() as stack:
        engine = open_database(folder / "keymanager.db", TABLES)
        stack.callback(engine.dispose)
        vault = _open_vault(folder, SecretStore(engine))
        clock, validity = SystemClock(), timedelta(seconds=config.certificate_seconds)
        identities = open_database(folder / "identity.db", IDENTITY_TABLES)
        stack.callback(identities.dispose)
        authority = open_authority(
            _Shelf(vault), validity=validity, clock=clock, random_bytes=os.urandom
        )
        revocations = Revocations(SqlRevocationStore(identities), validity=validity, clock=clock)
        enrolment = Enrolment(
            authority,
            TokenAppraiser(config.identities_file),
            Nonces(clock=clock, random_bytes=os.urandom),
            revocations,
            roles=SERVICES,
        )
        served = hosted(KeymanagerService(vault, enrolment, revocations))
        if config.tls == "off":
            yield served
            return
        assert config.ca_file is not None, "the settings were checked"
        issuer = OwnIssuer(authority)
        membership = Membership(issuer, issuer, clock=clock)
        await membership.enrol()
        await stack.enter_async_context(membership.kept())
        publish(authority, config.ca_file)
        yield served.of(Mutual(membership, revocations.present))


class _Shelf:
    """The key of the authority as one more key of the vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def load(self) -> bytes | None:
        return self._vault.load_own(AUTHORITY_KEY)

    def store(self, content: bytes) -> None:
        self._vault.store_own(AUTHORITY_KEY, content)


def _open_vault(folder: Path, store: SecretStore) -> Vault:
    root = open_root(folder / "root.key", os.urandom, may_make=store.is_empty())
    vault = Vault(store, root, clock=SystemClock(), random_bytes=os.urandom)
    try:
        vault.ensure_service_keys()
    except SealBroken as error:
        raise RootKeyUnusable(
            f"{folder / 'root.key'} does not open {error.name}: it belongs to another "
            "database, or the row was changed; restore both files from the same backup"
        ) from error
    return vault


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
