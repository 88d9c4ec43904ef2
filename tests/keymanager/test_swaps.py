"""No two rows of the database can change a cell, and none can take the place of another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from keymanager.rows import GUARDED, PolicyRow, Row, SecretRow, VersionRow
from tests.keymanager.vaults import Bench
from tests.keymanager.victims import KINDS, TENANTS, Victim, fill, key_of, opened, with_cells

CELLS = [(kind, column) for kind in GUARDED for column in kind._fields]


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    made = Bench()
    asyncio.run(fill(made))
    with opened(made) as victim:
        yield victim


def _swapped(first: Row, second: Row, *columns: str) -> list[tuple[Row, Row]]:
    """Return how two rows look before and after they changed some cells."""
    return [
        (mine, with_cells(mine, **{column: getattr(other, column) for column in columns}))
        for mine, other in ((first, second), (second, first))
    ]


def _accepted(victim: Victim, kind: type[Row], *columns: str) -> tuple[list[Row], int]:
    """Return the rows that were believed after a swap, and how many pairs could be swapped."""
    accepted, count = list[Row](), 0
    for first, second in itertools.combinations(victim.rows[kind], 2):
        changes = _swapped(first, second, *columns)
        if all(old == new for old, new in changes):
            continue
        count += 1
        with victim.undone():
            victim.overwrite(*changes)
            accepted += [old for old, _ in changes if not victim.is_refused(old)]
    return accepted, count


@pytest.mark.parametrize(
    ("kind", "column"), CELLS, ids=[f"{kind.__name__}-{column}" for kind, column in CELLS]
)
def test_no_two_rows_can_change_a_cell(victim: Victim, kind: type[Row], column: str) -> None:
    accepted, count = _accepted(victim, kind, column)
    assert not accepted
    assert count >= 5


@pytest.mark.parametrize("kind", GUARDED, ids=lambda kind: kind.__name__)
def test_no_row_can_take_the_place_of_another(victim: Victim, kind: type[Row]) -> None:
    """A whole row with its MAC: all but its key."""
    key_size = len(key_of(victim.rows[kind][0]))
    accepted, count = _accepted(victim, kind, *kind._fields[key_size:])
    assert not accepted
    size = len(victim.rows[kind])
    assert count == size * (size - 1) // 2


def test_the_rows_differ_in_what_can_be_swapped(victim: Victim) -> None:
    secrets = victim.rows[SecretRow]
    assert len(secrets) >= 30
    assert {row.tenant for row in secrets if isinstance(row, SecretRow)} == set(TENANTS)
    assert {row.kind for row in secrets if isinstance(row, SecretRow)} >= set(KINDS)
    assert {row.state for row in secrets if isinstance(row, SecretRow)} == {1, 2}
    assert {row.version for row in secrets if isinstance(row, SecretRow)} >= {1, 2}
    versions = victim.rows[VersionRow]
    assert {row.state for row in versions if isinstance(row, VersionRow)} == {1, 2}
    assert len(victim.rows[PolicyRow]) >= 8
