"""A file of which bytes were changed is refused, or answers what it answered before."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import pytest
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError

from chassis.errors import ServiceError
from keymanager.epochs import EpochUnusable
from keymanager.journal import Asker, Operation
from keymanager.leases import Renew
from keymanager.policies import ReadPolicy
from keymanager.rows import ANCHOR, EPOCH, ApprovalRow, LeaseRow
from keymanager.secret import Kind, Secret
from keymanager.sql import select
from keymanager.upkeep import ITSELF
from keymanager.uses.macs import Algorithm, Hmac
from keymanager.using import ReadPublicKey, Use
from tests.keymanager.vaults import Bench, Cell
from tests.keymanager.victims import fill

MUTATIONS_OF_BYTES = 400
MUTATIONS_OF_CELLS = 150
PAGE = 4_096
REFUSED = "refused"
RUNTIME = Asker("runtime", "agents/a", "request")

Answers: TypeAlias = Mapping[str, object]


@dataclass
class Image:
    """The bytes of a database, and the process that opens what somebody made of them."""

    bench: Bench
    content: bytes
    counter: int
    secrets: list[Secret]
    leases: list[LeaseRow]
    approvals: list[str]
    size: int

    def load(self, content: bytes) -> None:
        """Put other bytes in the place of the database."""
        with closing(self.bench.engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.deserialize(content)
        self.bench.platform._counter = self.counter

    def dump(self) -> bytes:
        """Return the bytes of the database as it is."""
        return _dump(self.bench)

    def answers(self) -> Answers | None:
        """Start, and ask for everything; None where the start is refused."""
        try:
            self.bench.open()
        except (ServiceError, EpochUnusable, sqlite3.Error, DBAPIError):
            return None
        return dict(self._answers())

    def _answers(self) -> Iterator[tuple[str, object]]:
        vault = self.bench.vault
        yield from self._outcomes()
        for secret in self.secrets:
            yield f"{secret.name}, described", _read(partial(vault.describe, secret.name))
        for approval in self.approvals:
            yield approval, _read(partial(vault.approval, approval))
        yield "records", _read(partial(vault.records, after=0, limit=self.size))
        yield "revoked", dict(self.bench.store.memory.revocations)

    def _outcomes(self) -> Iterator[tuple[str, object]]:
        mac = Hmac(Algorithm.SHA256, b"m")
        asked: dict[str, Operation] = {
            secret.name: Use(RUNTIME, "Sign", secret.name, (mac,))
            if secret.kind is Kind.HMAC
            else ReadPublicKey(ITSELF, secret.name)
            for secret in self.secrets
        }
        asked |= {lease.name: Renew(Asker(lease.holder), lease.name) for lease in self.leases}
        asked["policy"] = ReadPolicy(ITSELF)
        try:
            outcomes = self.bench.store.apply(list(asked.values()))
        except ServiceError:
            outcomes = [REFUSED] * len(asked)
        for name, outcome in zip(asked, outcomes, strict=True):
            yield name, REFUSED if isinstance(outcome, ServiceError) else outcome


def _dump(bench: Bench) -> bytes:
    with closing(bench.engine.raw_connection()) as connection:
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        return driver.serialize()


def _read(query: Callable[[], object]) -> object:
    try:
        return query()
    except ServiceError:
        return REFUSED


@pytest.fixture(scope="module")
def image() -> Image:
    bench = Bench()
    asyncio.run(fill(bench))
    secrets = list(bench.vault.describe_all(after="", limit=200))
    with bench.store._transaction() as cursor:
        leases = select(cursor, LeaseRow, "")
        approvals = [row.name for row in select(cursor, ApprovalRow, "")]
    return Image(
        bench,
        _dump(bench),
        bench.platform.read_counter(),
        secrets,
        leases,
        approvals,
        bench.vault.sequence,
    )


@pytest.fixture(scope="module")
def expected(image: Image) -> Answers:
    """Return what the untouched bytes answer: most of it is no refusal."""
    image.load(image.content)
    answers = image.answers()
    assert answers is not None
    refused = [name for name, answer in answers.items() if answer == REFUSED]
    assert len(refused) < len(answers) // 5
    return answers


def _wrong(expected: Answers, found: Answers | None) -> list[str]:
    if found is None:
        return []
    assert found.keys() == expected.keys()
    return [name for name in found if found[name] not in (expected[name], REFUSED)]


def test_the_same_bytes_answer_the_same(image: Image, expected: Answers) -> None:
    image.load(image.content)
    assert image.answers() == expected


def test_no_mutation_of_bytes_gives_another_answer(image: Image, expected: Answers) -> None:
    dice, wrong, refused = random.Random(1), [], 0
    for number in range(MUTATIONS_OF_BYTES):
        image.load(_mutated(dice, image.content))
        found = image.answers()
        refused += found is None
        wrong += [(number, name) for name in _wrong(expected, found)]
    assert not wrong
    assert refused > MUTATIONS_OF_BYTES // 4


@pytest.mark.parametrize("table", [ANCHOR, EPOCH], ids=lambda table: str(table.name))
def test_no_mutation_of_a_cell_gives_another_answer(
    image: Image, expected: Answers, table: Table
) -> None:
    dice, wrong, refused = random.Random(23), [], 0
    for _ in range(MUTATIONS_OF_CELLS):
        image.load(image.content)
        column = dice.choice([one.name for one in table.columns])
        cells = image.bench.execute(f"SELECT rowid, {column} FROM {table.name}")  # noqa: S608  # ours
        rowid, cell = dice.choice(cells)
        statement = f"UPDATE {table.name} SET {column} = ? WHERE rowid = ?"  # noqa: S608  # ours
        image.bench.execute(statement, (_changed(dice, cell), rowid))
        found = image.answers()
        refused += found is None
        wrong += [(column, name) for name in _wrong(expected, found)]
    assert not wrong
    # A key of an epoch is there twice, and nobody reads when it began.
    assert refused > MUTATIONS_OF_CELLS // 4


def _changed(dice: random.Random, cell: Cell) -> Cell:
    if isinstance(cell, int):
        return dice.choice([cell + 1, cell - 1, cell ^ 1 << dice.randrange(60), 0])
    assert isinstance(cell, bytes)
    place = dice.randrange(len(cell))
    flipped = cell[:place] + bytes([cell[place] ^ 1 << dice.randrange(8)]) + cell[place + 1 :]
    cells: list[Cell] = [flipped, cell[:place], cell + b"a", bytes(len(cell)), b"", cell.hex()]
    return dice.choice(cells)


def test_an_index_of_other_rows_stops_the_start(image: Image, expected: Answers) -> None:
    """Else whoever is revoked would not be in the index, and nobody would look elsewhere."""
    image.load(image.content)
    root = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_approval_1'"
    image.bench.execute("PRAGMA writable_schema = ON")
    image.bench.execute(
        f"UPDATE sqlite_master SET rootpage = ({root}) "  # noqa: S608  # ours
        "WHERE name = 'sqlite_autoindex_revocation_1'"
    )
    image.load(image.dump())
    assert image.answers() is None


def _mutated(dice: random.Random, content: bytes) -> bytes:
    """Return the bytes of a file changed in one of six ways, and of the same length."""
    changed = bytearray(content)
    place, other = dice.randrange(len(content)), dice.randrange(len(content))
    size = dice.choice([1, 2, 8, 32, 500])
    way = dice.randrange(8)
    if way == 0:
        changed[place] ^= 1 << dice.randrange(8)
    elif way == 1:
        part = content[place : place + size]
        changed[place : place + size] = dice.randbytes(len(part))
    elif way == 2:
        part = content[place : place + size]
        changed[place : place + size] = bytes(len(part))
    elif way == 3:
        part = content[other : other + size][: len(content) - place]
        changed[place : place + len(part)] = part
    else:
        # A page in the place of another one, or both.
        place, other = (one // PAGE * PAGE for one in (place, other))
        changed[place : place + PAGE] = content[other : other + PAGE]
        if way >= 6:
            changed[other : other + PAGE] = content[place : place + PAGE]
    return bytes(changed)
