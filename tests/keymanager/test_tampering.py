"""Whoever writes into the database gets nothing used that was not written there last."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from chassis.errors import ServiceError
from keymanager import sql
from keymanager.batch import Batch
from keymanager.errors import RolledBack, SealBroken
from keymanager.identity.members import Bar
from keymanager.keyring import open_version
from keymanager.lifecycle import existing, usable
from keymanager.requests import Request
from keymanager.rotation import Begin, Step
from keymanager.rows import GUARDED, KeyRow, Row, SecretRow, TenantRow, VersionRow
from keymanager.secret import Secret
from tests.keymanager.vaults import OPERATOR, Bench, Cell

MUTATIONS = 50_000
ROWS = 30

# What a use of a secret reads, column by column.
COLUMNS: dict[type[Row], tuple[str, ...]] = {
    kind: kind._fields for kind in (SecretRow, VersionRow, KeyRow, TenantRow)
}
# What encryption alone binds, also where somebody had the key of the MACs.
BOUND: dict[type[Row], tuple[str, ...]] = {
    SecretRow: ("name", "id", "tenant", "kind"),
    VersionRow: ("secret_id", "number", "create_microseconds", "ciphertext"),
    KeyRow: ("content",),
    TenantRow: ("tenant", "generation"),
}


@dataclass
class Victim:
    """A vault within one transaction, in which rows are changed and changed back."""

    batch: Batch
    names: list[str]
    rows: dict[str, dict[type[Row], Row]]

    def is_refused(self, name: str) -> bool:
        """Open a value as the first use after a start does; tell whether it was refused."""
        try:
            row = existing(self.batch, name)
            open_version(self.batch, row, usable(self.batch, row, 0))
        except ServiceError:
            return True
        return False

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what a block does, in the database and in what the batch remembers."""
        changes, total = dict(self.batch._changes), self.batch._total
        self.batch.cursor.execute("SAVEPOINT before")
        yield
        self.batch.cursor.execute("ROLLBACK TO before")
        self.batch.cursor.execute("RELEASE before")
        self.batch._changes, self.batch._total = changes, total

    def overwrite(self, old: Row, new: Row) -> None:
        """Change a row as somebody with the file in his hands would."""
        sql.delete(self.batch.cursor, GUARDED[type(old)], _key(old))
        sql.upsert(self.batch.cursor, GUARDED[type(old)], [new])


def _key(row: Row) -> tuple[Cell, ...]:
    key: tuple[Cell, ...] = tuple(row[: len(GUARDED[type(row)].primary_key.columns)])
    return key


@pytest.fixture
def victim() -> Iterator[Victim]:
    """Return a vault whose rows are half in one epoch and half in another."""
    bench = Bench()

    async def fill() -> None:
        for number in range(ROWS):
            await bench.put(f"secrets/s{number:02}")

    asyncio.run(fill())
    bench.store.apply([Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())])
    bench.store.apply([Step(rows_max=ROWS + ROWS // 2)])
    with bench.store._transaction() as cursor:
        batch = bench.store._batch(cursor)
        names = [f"secrets/s{number:02}" for number in range(ROWS)]
        yield Victim(batch, names, {name: _rows(batch, name) for name in names})


def _rows(batch: Batch, name: str) -> dict[type[Row], Row]:
    secret = existing(batch, name)
    version = usable(batch, secret, 0)
    key = batch.get(KeyRow, version.key_id, name=name)
    where = "WHERE tenant = ? AND generation = ?"
    generation = int.from_bytes(key.content[:8])
    (tenant,) = batch.select(TenantRow, where, (secret.tenant, generation), name=name)
    return {SecretRow: secret, VersionRow: version, KeyRow: key, TenantRow: tenant}


def test_an_untouched_row_is_accepted(victim: Victim) -> None:
    """What is tested opens, else the others prove nothing."""
    assert not any(victim.is_refused(name) for name in victim.names)


def test_the_rows_are_in_two_epochs(victim: Victim) -> None:
    assert len({rows[VersionRow].epoch for rows in victim.rows.values()}) == 2


def test_no_mutation_of_a_stored_cell_is_accepted(victim: Victim) -> None:
    dice, accepted, tried = random.Random(20), [], 0
    while tried < MUTATIONS:
        name, donor = dice.sample(victim.names, 2)
        kind = dice.choice(list(COLUMNS))
        old = victim.rows[name][kind]
        column = dice.choice(COLUMNS[kind])
        new = _mutated(dice, old, column, victim.rows[donor][kind])
        if new == old:
            continue
        tried += 1
        with victim.undone():
            victim.overwrite(old, new)
            if not victim.is_refused(name):
                accepted.append((name, column, old, new))
        assert not (tried % 1_000 == 0 and victim.is_refused(name)), "it is as it was"
    assert not accepted


def test_no_mutation_is_accepted_of_who_can_forge_macs(victim: Victim) -> None:
    dice, accepted, tried = random.Random(21), [], 0
    while tried < MUTATIONS:
        name, donor = dice.sample(victim.names, 2)
        kind = dice.choice(list(BOUND))
        old = victim.rows[name][kind]
        column = dice.choice(BOUND[kind])
        new = _mutated(dice, old, column, victim.rows[donor][kind])
        # A forged MAC fits every epoch.
        if new[:-2] == old[:-2] or not _has_types_of(new, old):
            continue
        tried += 1
        with victim.undone():
            victim.batch.delete(kind, *_key(old))
            victim.batch.write(new)
            if not victim.is_refused(name if kind is not SecretRow else str(new[0])):
                accepted.append((name, column, old, new))
        assert not (tried % 1_000 == 0 and victim.is_refused(name)), "it is as it was"
    assert not accepted


def _has_types_of(new: Row, old: Row) -> bool:
    return [type(cell) for cell in new] == [type(cell) for cell in old]


def _mutated(dice: random.Random, row: Row, column: str, donor: Row) -> Row:
    """Return a row with one cell changed in one of eight ways."""
    cell, other = getattr(row, column), getattr(donor, column)
    way = dice.randrange(8)
    if way == 0:
        return _with(row, **{column: _flipped(dice, cell)})
    if way == 1:
        return _with(row, **{column: _cut(dice, cell)})
    if way == 2:
        return _with(row, **{column: _extended(dice, cell)})
    if way == 3:
        return _with(row, **{column: other})
    if way == 4:
        return _with(row, **{column: _spliced(dice, cell, other)})
    if way == 5:
        # Two columns of one kind change places.
        alike = [name for name in row._fields if type(getattr(row, name)) is type(cell)]
        partner = dice.choice(alike)
        return _with(row, **{column: getattr(row, partner), partner: cell})
    if way == 6:
        return row._replace(epoch=donor.epoch, mac=dice.choice([row.mac, donor.mac]))
    return _with(row, **{column: type(cell)()})


def _with(row: Row, **cells: Cell) -> Row:
    """Return a row with other cells, also of other types."""
    return row._replace(**cells)  # type: ignore[arg-type]  # that is what an attacker does


def _flipped(dice: random.Random, cell: Cell) -> Cell:
    if isinstance(cell, int):
        return cell ^ (1 << dice.randrange(62))
    content = bytearray(cell if isinstance(cell, bytes) else cell.encode())
    if not content:
        return cell
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(7)
    return bytes(content) if isinstance(cell, bytes) else content.decode()


def _cut(dice: random.Random, cell: Cell) -> Cell:
    return cell >> 1 if isinstance(cell, int) else cell[: dice.randrange(len(cell) + 1)]


def _extended(dice: random.Random, cell: Cell) -> Cell:
    if isinstance(cell, int):
        return cell + dice.randrange(1, 100)
    if isinstance(cell, bytes):
        return cell + dice.randbytes(dice.randrange(1, 40))
    return cell + "a"


def _spliced(dice: random.Random, cell: Cell, other: Cell) -> Cell:
    if isinstance(cell, int) or isinstance(other, int) or type(cell) is not type(other):
        return other
    place = dice.randrange(len(cell) + 1)
    return cell[:place] + other[place:]  # type: ignore[operator]  # of one kind


@pytest.mark.parametrize(
    ("kind", "column"),
    [(kind, column) for kind, columns in COLUMNS.items() for column in columns[1:]],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_no_two_rows_can_change_a_cell(victim: Victim, kind: type[Row], column: str) -> None:
    accepted = []
    for one, two in itertools.combinations(victim.names, 2):
        first, second = victim.rows[one][kind], victim.rows[two][kind]
        swapped = [
            (one, first, _with(first, **{column: getattr(second, column)})),
            (two, second, _with(second, **{column: getattr(first, column)})),
        ]
        if first == swapped[0][2] or GUARDED[kind].primary_key.columns.contains_column(
            GUARDED[kind].c[column]
        ):
            continue
        with victim.undone():
            for _, old, new in swapped:
                victim.overwrite(old, new)
            accepted += [name for name, _, _ in swapped if not victim.is_refused(name)]
    assert not accepted


# --- While it runs and at a start ---------------------------------------------------------------


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    for name in ("secrets/a", "secrets/b"):
        await made.put(name)
    return made


@pytest.mark.parametrize("kind", list(GUARDED), ids=lambda kind: kind.__name__)
async def test_a_row_that_is_missing_stops_the_start(bench: Bench, kind: type[Row]) -> None:
    await _use_everything(bench)
    bench.execute(f"DELETE FROM {GUARDED[kind].name} WHERE rowid = 1")  # noqa: S608  # our names
    with pytest.raises(RolledBack):
        bench.open()


@pytest.mark.parametrize("kind", [SecretRow, VersionRow, KeyRow, TenantRow])
async def test_an_old_row_that_was_authentic_stops_the_start(bench: Bench, kind: type[Row]) -> None:
    table = GUARDED[kind].name
    before = bench.execute(f"SELECT rowid, * FROM {table}")  # noqa: S608  # our names
    await bench.rotate("secrets/a")
    await bench.vault.disable("secrets/b", by=OPERATOR)
    places = ", ".join("?" * (len(before[0]) - 1))
    for rowid, *cells in before:
        bench.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608  # as above
        bench.execute(f"INSERT INTO {table} VALUES ({places})", tuple(cells))  # noqa: S608  # as above
    with pytest.raises((RolledBack, SealBroken)):
        bench.open()


async def test_an_old_row_that_was_authentic_is_refused_while_it_runs(bench: Bench) -> None:
    (before,) = bench.execute("SELECT state, epoch, mac FROM secret WHERE name = 'secrets/a'")
    await bench.vault.disable("secrets/a", by=OPERATOR)
    bench.write("secrets/a", state=before[0], epoch=before[1], mac=before[2])
    with pytest.raises(SealBroken):
        await bench.vault.public_key("secrets/a")
    with pytest.raises(SealBroken):
        bench.vault.describe("secrets/a")
    with pytest.raises(SealBroken):
        bench.vault.describe_all(after="", limit=10)


async def test_a_secret_that_was_deleted_while_it_runs_is_not_said_to_be_none(bench: Bench) -> None:
    bench.execute("DELETE FROM secret WHERE name = 'secrets/a'")
    with pytest.raises(SealBroken):
        bench.vault.describe("secrets/a")


async def test_a_request_that_was_deleted_while_it_runs_is_not_done_again(bench: Bench) -> None:
    async def rotate() -> Secret:
        return await bench.vault.rotate("r1", "secrets/a", b"", generate=True, by=OPERATOR)

    await rotate()
    bench.execute("DELETE FROM request WHERE id = 'r1'")
    with pytest.raises(SealBroken):
        await rotate()
    assert bench.vault.describe("secrets/a").version == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE sequence = 2",
        "DELETE FROM record WHERE sequence = (SELECT max(sequence) FROM record)",
        "UPDATE record SET content = replace(content, 'operator', 'somebody') WHERE sequence = 2",
        "UPDATE record SET chain_hash = zeroblob(32) WHERE sequence = 2",
        "INSERT INTO record SELECT max(sequence) + 1, content, chain_hash FROM record",
        "UPDATE anchor SET counter = counter + 1",
        "UPDATE anchor SET accepted_sequence = 1000",
        "UPDATE anchor SET mac = zeroblob(32)",
        "UPDATE anchor SET head = zeroblob(32)",
        "DELETE FROM anchor",
    ],
)
async def test_a_changed_log_or_anchor_stops_the_start(bench: Bench, statement: str) -> None:
    bench.execute(statement)
    with pytest.raises(RolledBack):
        bench.open()


async def test_an_anchor_that_changes_while_it_runs_stops_all_answers(bench: Bench) -> None:
    bench.execute("UPDATE anchor SET mac = zeroblob(32)")
    for _ in range(2):
        with pytest.raises(RolledBack):
            await bench.put("secrets/c")


async def test_an_injected_secret_is_no_secret(bench: Bench) -> None:
    bench.execute(
        "INSERT INTO secret SELECT 'secrets/c', id, tenant, kind, version, state, "
        "create_microseconds, epoch, mac FROM secret WHERE name = 'secrets/a'"
    )
    assert await _reason(bench, "secrets/c") == "SECRET_NOT_FOUND"


async def _reason(bench: Bench, name: str) -> str:
    try:
        await bench.vault.public_key(name)
    except ServiceError as error:
        return error.reason
    return ""


async def _use_everything(bench: Bench) -> None:
    """Leave a row of every kind."""
    from tests.keymanager.test_uses import fill  # noqa: PLC0415  # a test module

    await fill(bench)
    await bench.vault.perform(Bar(OPERATOR, "spiffe://actionvm/service/gas"))
