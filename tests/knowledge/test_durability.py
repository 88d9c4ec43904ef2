"""After a kill, rows and both indexes hold all that was acknowledged, and agree."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from knowledge.store import KnowledgeStore
from tests.knowledge.stores import MARKET, name_of, open_store, paths
from tests.knowledge.writer import text_of

ROOT = Path(__file__).resolve().parents[2]
LINES = 60


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, int]]:
    """Return the file of a killed writer, and number -> version that it was told is stored."""
    path = tmp_path_factory.mktemp("knowledge") / "knowledge.db"
    command = [sys.executable, "-m", "tests.knowledge.writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(LINES)]
        process.kill()
        lines += process.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    assert len(told) >= LINES
    return path, {int(number): int(version) for number, version in told}


@pytest.fixture(scope="module")
def store(killed: tuple[Path, dict[int, int]]) -> KnowledgeStore:
    return open_store(killed[0])


def test_every_acknowledged_document_is_there(
    killed: tuple[Path, dict[int, int]], store: KnowledgeStore
) -> None:
    found = {number: store.get(name_of(f"{number:04}.md"))[1] for number in killed[1]}
    # The kill may have come between a commit and its answer.
    assert [
        number
        for number, version in killed[1].items()
        if found[number] not in {text_of(number, version), text_of(number, 2)}
    ] == []


def test_every_acknowledged_document_is_found(
    killed: tuple[Path, dict[int, int]], store: KnowledgeStore
) -> None:
    for number in killed[1]:
        assert paths(store.search([MARKET], f"number{number}", limit=1)) == [f"{number:04}.md"]


def test_no_passage_is_without_its_keywords(killed: tuple[Path, dict[int, int]]) -> None:
    with closing(sqlite3.connect(killed[0])) as connection:
        passages = connection.execute("SELECT id FROM passages ORDER BY id").fetchall()
        keywords = connection.execute("SELECT rowid FROM keywords ORDER BY rowid").fetchall()
    assert passages == keywords


def test_every_document_has_the_passages_that_it_counts(
    killed: tuple[Path, dict[int, int]],
) -> None:
    query = (
        "SELECT documents.name FROM documents LEFT JOIN passages ON document = documents.name"
        " GROUP BY documents.name HAVING count(passages.id) != passage_count"
    )
    with closing(sqlite3.connect(killed[0])) as connection:
        assert not connection.execute(query).fetchall()
