"""Whoever writes into the database gets nothing used that was not written there last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from chassis.errors import ServiceError
from keymanager.errors import RolledBack, SealBroken
from keymanager.identity.members import Bar
from keymanager.rows import GUARDED, KeyRow, Row, SecretRow, TenantRow, VersionRow
from keymanager.secret import Secret
from tests.keymanager.vaults import OPERATOR, Bench, Cell
from tests.keymanager.victims import Victim, fill, key_of, opened, with_cells

# With those of `test_raw_bytes.py` there are more than 100,000.
MUTATIONS = 70_000
MUTATIONS_FORGED = 30_000

# What encryption alone binds, also where somebody had the key of the MACs.
BOUND: dict[type[Row], tuple[str, ...]] = {
    SecretRow: ("name", "id", "tenant", "kind"),
    VersionRow: ("secret_id", "number", "create_microseconds", "ciphertext"),
    KeyRow: ("content",),
    TenantRow: ("tenant", "generation"),
}


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    made = Bench()
    asyncio.run(fill(made))
    with opened(made) as victim:
        yield victim


def test_untouched_rows_are_accepted(victim: Victim) -> None:
    """What is tested opens, else the others prove nothing."""
    for kind, rows in victim.rows.items():
        assert len(rows) >= 5, kind
        assert not [row for row in rows if victim.is_refused(row)]


@pytest.mark.parametrize("kind", GUARDED, ids=lambda kind: kind.__name__)
def test_the_rows_are_in_two_epochs(victim: Victim, kind: type[Row]) -> None:
    assert len({row.epoch for row in victim.rows[kind]}) == 2


def test_no_mutation_of_a_stored_cell_is_accepted(victim: Victim) -> None:
    dice, accepted, tried = random.Random(20), [], 0
    while tried < MUTATIONS:
        kind = dice.choice(list(GUARDED))
        old, donor = dice.sample(victim.rows[kind], 2)
        column = dice.choice(kind._fields)
        new = _mutated(dice, old, column, donor)
        if new == old:
            continue
        tried += 1
        with victim.undone():
            victim.overwrite((old, new))
            if not victim.is_refused(old):
                accepted.append((column, old, new))
        assert not (tried % 1_000 == 0 and victim.is_refused(old)), "it is as it was"
    assert not accepted


@pytest.mark.parametrize("kind", BOUND, ids=lambda kind: kind.__name__)
def test_a_row_that_is_forged_as_it_was_is_accepted(victim: Victim, kind: type[Row]) -> None:
    """What is written there is read, else the next test proves nothing."""
    for row in victim.rows[kind]:
        if row.epoch != victim.batch.epoch.epoch:
            continue
        with victim.undone():
            victim.batch.delete(kind, *key_of(row))
            victim.batch.write(row)
            assert not _is_refused(victim, row, row)


def test_no_mutation_is_accepted_of_who_can_forge_macs(victim: Victim) -> None:
    dice, accepted, tried = random.Random(21), [], 0
    # A wrapped key is opened with the epoch of its row, which only the present one forges.
    forgeable = {
        kind: [row for row in victim.rows[kind] if row.epoch == victim.batch.epoch.epoch]
        for kind in BOUND
    }
    while tried < MUTATIONS_FORGED:
        kind = dice.choice(list(BOUND))
        old, donor = dice.sample(forgeable[kind], 2)
        column = dice.choice(BOUND[kind])
        new = _mutated(dice, old, column, donor)
        # A forged MAC fits every epoch.
        if new[:-2] == old[:-2] or not _has_types_of(new, old):
            continue
        tried += 1
        with victim.undone():
            victim.batch.delete(kind, *key_of(old))
            victim.batch.write(new)
            if not _is_refused(victim, old, new):
                accepted.append((column, old, new))
        assert not (tried % 1_000 == 0 and victim.is_refused(old)), "it is as it was"
    assert not accepted


def _is_refused(victim: Victim, old: Row, new: Row) -> bool:
    """Ask for what a row is of now, not only for what it was of."""
    name, number = victim.owners[type(old), key_of(old)]
    if isinstance(new, SecretRow):
        name = new.name
    elif isinstance(new, VersionRow):
        name, number = victim.names.get(new.secret_id, name), new.number
    try:
        victim.read(name, number)
    except ServiceError:
        return True
    return False


def _has_types_of(new: Row, old: Row) -> bool:
    return [type(cell) for cell in new] == [type(cell) for cell in old]


def _mutated(dice: random.Random, row: Row, column: str, donor: Row) -> Row:
    """Return a row with one cell changed in one of eight ways."""
    cell, other = getattr(row, column), getattr(donor, column)
    way = dice.randrange(8)
    if way == 0:
        return with_cells(row, **{column: _flipped(dice, cell)})
    if way == 1:
        return with_cells(row, **{column: _cut(dice, cell)})
    if way == 2:
        return with_cells(row, **{column: _extended(dice, cell)})
    if way == 3:
        return with_cells(row, **{column: other})
    if way == 4:
        return with_cells(row, **{column: _spliced(dice, cell, other)})
    if way == 5:
        # Two columns of one kind change places.
        alike = [name for name in row._fields if type(getattr(row, name)) is type(cell)]
        partner = dice.choice(alike)
        return with_cells(row, **{column: getattr(row, partner), partner: cell})
    if way == 6:
        return row._replace(epoch=donor.epoch, mac=dice.choice([row.mac, donor.mac]))
    return with_cells(row, **{column: type(cell)()})


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
