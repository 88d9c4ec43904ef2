"""The store keeps every bundle once, and lists the newest first."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.bundle import Bundle
from assembler.errors import BundleNotFound
from assembler.ports import Signature
from assembler.store import TABLES, BundleStore
from chassis.database import open_database, open_memory_database

from .workbench import StoppedClock

NOW = StoppedClock.time


def _bundle(payload: bytes, *, signed_by: bytes = b"k") -> Bundle:
    signature = Signature("keys/bundles", "ed25519", signed_by * 32, b"s" * 64)
    return Bundle("agents/a", "1.0.0", payload, signature)


def _store() -> BundleStore:
    return BundleStore(open_memory_database(TABLES))


def test_a_bundle_comes_back_as_it_was() -> None:
    store = _store()
    store.put(_bundle(b"{}"), NOW)

    assert store.get(_bundle(b"{}").name) == _bundle(b"{}")


def test_an_unknown_bundle_is_not_found() -> None:
    with pytest.raises(BundleNotFound):
        _store().get(_bundle(b"{}").name)


def test_putting_again_keeps_place_and_time() -> None:
    store = _store()
    for payload in (b"1", b"2", b"1"):
        store.put(_bundle(payload), NOW)
    store.put(_bundle(b"2"), NOW + timedelta(days=1))

    assert [(found.name, found.create_time) for found in store.list(before=None, limit=9)] == [
        (_bundle(b"2").name, NOW),
        (_bundle(b"1").name, NOW),
    ]


def test_the_newest_of_an_agent_is_the_one_that_was_put_last() -> None:
    store = _store()
    for payload in (b"1", b"2", b"1"):
        store.put(_bundle(payload), NOW)

    assert store.newest("agents/a") == store.newest("agents/a", "1.0.0") == _bundle(b"1")
    assert store.newest("agents/a", "2.0.0") is store.newest("agents/b") is None
    assert store.agents() == ["agents/a"]


def test_putting_again_takes_the_new_signature() -> None:
    store = _store()
    store.put(_bundle(b"1"), NOW)
    store.put(_bundle(b"1", signed_by=b"n"), NOW)

    assert store.get(_bundle(b"1").name).signature.public_key == b"n" * 32


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=3), max_size=12), st.integers(1, 5))
def test_pages_hold_every_bundle_once_newest_first(payloads: list[bytes], limit: int) -> None:
    store = _store()
    for payload in payloads:
        store.put(_bundle(payload), NOW)
    pages: list[str] = []
    before = None
    while page := store.list(before=before, limit=limit):
        pages += [found.name for found in page]
        before = page[-1].sequence

    assert pages == [_bundle(payload).name for payload in reversed(dict.fromkeys(payloads))]


def test_a_bundle_outlives_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        engine = open_database(tmp_path / "assembler.db", TABLES)
        BundleStore(engine).put(_bundle(b"1"), NOW)
        engine.dispose()
    engine = open_database(tmp_path / "assembler.db", TABLES)

    assert len(BundleStore(engine).list(before=None, limit=9)) == 1
    engine.dispose()
