"""Vaults for tests: seeded bytes, a clock that is set by hand, and what a row looks like raw."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from chassis.database import open_database, open_memory_database
from keymanager.journal import Asker
from keymanager.keyring import WRAPS_MAX
from keymanager.rows import TABLES, VERSION
from keymanager.secret import Kind, Secret
from keymanager.signing import Purpose
from keymanager.store import VaultStore
from keymanager.uses.attributed import Attribute, Attributed
from keymanager.uses.signatures import SignMessage
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform

OPERATOR = Asker("operator")
RUNTIME = Asker("runtime")

Cell: TypeAlias = str | int | bytes


@dataclass
class HandSetClock:
    """A clock that stands still until a test moves it."""

    time: datetime = datetime(2026, 3, 31, 22, 30, 0, 123456, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time

    def advance(self, step: timedelta) -> None:
        """Move forward."""
        self.time += step


@dataclass
class Bench:
    """A vault with everything that it stands on within reach."""

    path: Path | None = None
    seed: int = 1
    clock: HandSetClock = field(default_factory=HandSetClock)
    platform: FakePlatform = field(default_factory=FakePlatform)
    wraps_max: int = WRAPS_MAX
    puts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine: Engine = (
            open_database(self.path, TABLES, version=VERSION)
            if self.path
            else open_memory_database(TABLES, version=VERSION)
        )
        self.dice = random.Random(self.seed)
        self.open()

    def open(self, *, accepts_rollback: bool = False) -> None:
        """Open the vault, or open it again as the next process would."""
        self.store = VaultStore(
            self.engine,
            self.platform,
            clock=self.clock,
            random_bytes=self.dice.randbytes,
            accepts_rollback=accepts_rollback,
            wraps_max=self.wraps_max,
        )
        self.vault = Vault(self.store)

    async def put(self, name: str, value: bytes = b"", kind: Kind = Kind.API_KEY) -> Secret:
        """Put a secret; without a value, a key that nobody knows."""
        kind = kind if value else Kind.ED25519
        return await self.vault.put(
            self._request_id(name),
            name,
            kind,
            value,
            generate=not value,
            by=OPERATOR,
        )

    def _request_id(self, name: str) -> str:
        """Return the last part of a name, and after the first time something longer."""
        self.puts[name] = self.puts.get(name, 0) + 1
        return name.rpartition("/")[2] + "'" * (self.puts[name] - 1)

    async def rotate(self, name: str, value: bytes = b"", grace: timedelta = timedelta()) -> Secret:
        """Rotate a secret; without a value, to a key that nobody knows."""
        return await self.vault.rotate(
            f"rotate {name} {self.dice.random()}",
            name,
            value,
            generate=not value,
            by=OPERATOR,
            grace=grace,
        )

    def execute(self, statement: str, values: tuple[Cell, ...] = ()) -> list[tuple[Cell, ...]]:
        """Run a statement beside the vault, as somebody with the file in his hands would."""
        with closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return [tuple(row) for row in cursor.fetchall()]

    def write(self, name: str, /, **cells: Cell) -> None:
        """Overwrite columns of the row of a secret."""
        assignments = ", ".join(f"{column} = ?" for column in cells)
        statement = f"UPDATE secret SET {assignments} WHERE name = ?"  # noqa: S608  # constants
        self.execute(statement, (*cells.values(), name))


async def sign(
    vault: Vault, name: str, purpose: Purpose, message: bytes, *, by: Asker
) -> Attributed[bytes]:
    """Sign a message, as the service does for a caller."""
    asker = Asker(by.caller, by.agent, purpose.value)
    operation = Attribute(SignMessage(purpose, message))
    return await vault.use(name, operation, method="Sign", by=asker)


def public_key_of(seed: bytes) -> bytes:
    """Return the public half of an Ed25519 key."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
