"""Entries and notices are one list of events, in which nothing is left out or comes twice."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from gas.entries import Entry
from gas.notices import Event, Notice
from tests.gas.ledgers import ACCOUNT, Ledger, budget, open_ledger, reservation, run_name, tokens


@pytest.fixture
def store() -> Ledger:
    """Return a ledger in which charges and closed runs take turns at random."""
    ledger, dice = open_ledger(), random.Random(5)
    ledger.set_budget(budget(10_000))
    for number in range(40):
        if dice.random() < 0.4:
            ledger.close_run(run_name(100 + number), ACCOUNT)
        else:
            hold = ledger.reserve(reservation(f"r{number}", 3))
            ledger.settle(hold.name, tokens(2))
    return ledger


def places(events: Iterable[Event]) -> list[tuple[str, int]]:
    return [
        ("entry", event.what.sequence)
        if isinstance(event.what, Entry)
        else ("notice", event.what.number)
        for event in events
    ]


def test_offsets_have_no_gap_and_end_at_the_last_one(store: Ledger) -> None:
    events = store.store.events(after_offset=0, limit=1_000)

    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert store.store.last_offset() == len(events) == 40


def test_a_notice_comes_after_the_entry_that_it_names(store: Ledger) -> None:
    last = 0
    for event in store.store.events(after_offset=0, limit=1_000):
        if isinstance(event.what, Notice):
            assert (event.what.after_sequence, event.what.offset) == (last, event.offset)
        else:
            last = event.what.sequence


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_of_any_size_give_the_same_events(store: Ledger, limit: int) -> None:
    whole = store.store.events(after_offset=0, limit=1_000)
    paged: list[Event] = []
    while page := store.store.events(after_offset=len(paged), limit=limit):
        paged += page

    assert paged == whole


def test_a_run_is_closed_once(store: Ledger) -> None:
    before = store.store.last_offset()
    for _ in range(2):
        store.close_run(run_name(1), ACCOUNT)

    (event,) = store.store.events(after_offset=before, limit=10)
    assert isinstance(event.what, Notice)
    assert (event.what.kind, event.what.account, event.what.content) == (
        "run-closed",
        ACCOUNT,
        {"run": run_name(1)},
    )
