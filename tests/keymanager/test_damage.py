"""A file that was damaged or changed stops the start in words, and never with a bug."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest

from keymanager.database import DatabaseUnusable, open_vault_store
from keymanager.epochs import EpochUnusable
from keymanager.errors import RolledBack
from keymanager.rows import TABLES
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import HandSetClock

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keymanager-2"
DAMAGED_FILES = 12
WRONG = ("x", b"\xff\xfe", 1.5, 1 << 62)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a stopped vault that is whole."""
    folder = tmp_path_factory.mktemp("sound") / "data"
    shutil.copytree(GOLDEN, folder)
    assert not _problem(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, sound: Path) -> Path:
    """Return a copy to damage."""
    return _copied(sound, tmp_path / "data")


def _copied(sound: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    return folder


def _problem(folder: Path, *, accepts_rollback: bool = False) -> str:
    """Return why a vault does not open, or nothing."""
    try:
        engine, _ = open_vault_store(
            folder,
            FakePlatform(folder / "counter"),
            clock=HandSetClock(),
            random_bytes=random.Random(1).randbytes,
            accepts_rollback=accepts_rollback,
        )
    except (DatabaseUnusable, EpochUnusable, RolledBack) as error:
        return str(error)
    engine.dispose()
    return ""


def _execute(folder: Path, statement: str, *cells: object) -> None:
    with closing(sqlite3.connect(folder / "keymanager.db", isolation_level=None)) as connection:
        connection.execute(statement, cells)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE anchor SET tree = x'00'",
        "UPDATE anchor SET epochs = x'00'",
        "UPDATE anchor SET counter = 'many'",
        "UPDATE epoch SET sealed_code = 'x'",
        "UPDATE epoch SET sealed_signer = 1.5",
        "ALTER TABLE record RENAME COLUMN content TO other",
    ],
)
@pytest.mark.parametrize("accepts_rollback", [False, True])
def test_what_no_operator_can_accept_says_to_restore_a_backup(
    folder: Path, statement: str, *, accepts_rollback: bool
) -> None:
    _execute(folder, statement)
    assert "restore a backup" in _problem(folder, accepts_rollback=accepts_rollback)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE sequence = 2",
        "UPDATE record SET content = 'x' WHERE sequence = (SELECT max(sequence) FROM record)",
    ],
)
def test_a_log_with_a_gap_is_not_accepted(folder: Path, statement: str) -> None:
    _execute(folder, statement)
    assert "audit record" in _problem(folder, accepts_rollback=True)


def test_a_file_that_somebody_holds_is_not_called_damaged(folder: Path) -> None:
    (folder / "keymanager.db").unlink()
    (folder / "keymanager.db").mkdir()
    assert "cannot be used" in _problem(folder)


def test_a_file_of_a_later_release_says_so(folder: Path) -> None:
    _execute(folder, "PRAGMA user_version = 99")
    assert "start the release that wrote it" in _problem(folder)


@pytest.mark.parametrize("table", [one for one in TABLES.tables if one != "node"])
def test_no_cell_of_a_wrong_kind_is_a_bug_at_a_start(
    tmp_path: Path, sound: Path, table: str
) -> None:
    for column, cell in zip(TABLES.tables[table].columns, cycle(WRONG), strict=False):
        folder = _copied(sound, tmp_path / "data")
        last = f"(SELECT max(rowid) FROM {table})"  # noqa: S608  # our names
        try:
            _execute(folder, f"UPDATE {table} SET {column.name} = ? WHERE rowid = {last}", cell)  # noqa: S608  # as above
        except sqlite3.IntegrityError:
            continue
        _problem(folder)
        _problem(folder, accepts_rollback=True)


def test_no_damage_of_a_file_is_a_bug_at_a_start(tmp_path: Path, sound: Path) -> None:
    dice, stopped = random.Random(4), 0
    for _ in range(DAMAGED_FILES):
        folder = _copied(sound, tmp_path / "data")
        content = bytearray((folder / "keymanager.db").read_bytes())
        for _ in range(dice.choice((1, 200))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (folder / "keymanager.db").write_bytes(content)
        stopped += bool(_problem(folder))
    assert stopped
