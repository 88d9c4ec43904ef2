"""SQLite as a store: what was committed is there, what was not is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, select

from chassis.database import SchemaTooNew, open_database, open_memory_database, transaction


class _Base(SQLModel, registry=registry()):
    pass


class _Coin(_Base, table=True):
    name: str = Field(primary_key=True)


def _names(engine: Engine) -> list[str]:
    with transaction(engine) as session:
        return [coin.name for coin in session.exec(select(_Coin)).all()]


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "coins.db"
    engine = open_database(path, _Base.metadata)
    with transaction(engine) as session:
        session.add(_Coin(name="ether"))
    engine.dispose()

    assert _names(open_database(path, _Base.metadata)) == ["ether"]


def test_a_block_that_raises_leaves_nothing() -> None:
    engine = open_memory_database(_Base.metadata)

    def fail() -> None:
        with transaction(engine) as session:
            session.add(_Coin(name="ether"))
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert _names(engine) == []


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "coins.db", _Base.metadata)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_a_file_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "coins.db"
    open_database(path, _Base.metadata, version=2).dispose()

    with pytest.raises(SchemaTooNew):
        open_database(path, _Base.metadata, version=1)
