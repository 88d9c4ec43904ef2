"""Vaults for tests: seeded bytes, a clock that is set by hand, and what a row looks like raw."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Engine

from chassis.database import open_database, open_memory_database
from keymanager.sealing import RootKey
from keymanager.store import TABLES, SecretStore
from keymanager.vault import Vault

ROOT_KEY = bytes(range(32))
COLUMNS = (
    "name",
    "kind",
    "version",
    "create_microseconds",
    "rotate_microseconds",
    "wrapped_key",
    "ciphertext",
)

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
    root: RootKey = field(default_factory=lambda: RootKey(ROOT_KEY))
    clock: HandSetClock = field(default_factory=HandSetClock)

    def __post_init__(self) -> None:
        self.engine: Engine = (
            open_database(self.path, TABLES) if self.path else open_memory_database(TABLES)
        )
        self.store = SecretStore(self.engine)
        dice = random.Random(self.seed)
        self.vault = Vault(self.store, self.root, clock=self.clock, random_bytes=dice.randbytes)
        self.vault.ensure_service_keys()

    def cells(self, name: str) -> dict[str, Cell]:
        """Return a stored row, column by column."""
        with closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM secrets WHERE name = ?", (name,))  # noqa: S608  # constants
            row = cursor.fetchone()
        assert row is not None
        return dict(zip(COLUMNS, row, strict=True))

    def write(self, name: str, /, **cells: Cell) -> None:
        """Overwrite columns of a stored row, as somebody with the file in his hands would."""
        assignments = ", ".join(f"{column} = ?" for column in cells)
        with closing(self.engine.raw_connection()) as connection:
            statement = f"UPDATE secrets SET {assignments} WHERE name = ?"  # noqa: S608  # constants
            connection.cursor().execute(statement, (*cells.values(), name))

    @contextmanager
    def tampered(self, name: str, /, **cells: Cell) -> Iterator[str]:
        """Overwrite columns for the time of a block; yield the name that the row has then."""
        before = self.cells(name)
        self.write(name, **cells)
        now = str(cells.get("name", name))
        yield now
        self.write(now, **before)
