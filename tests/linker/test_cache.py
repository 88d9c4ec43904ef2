"""Sequences share what they begin with, wait for who computes it, and leave when room is needed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linker.providers.cache import PrefixCache, Resident
from linker.providers.prefixes import PrefixTree

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


class FakeCells:
    """Cells that know their token and position, as those of llama.cpp do, and run out."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self._of: dict[int, dict[int, object]] = {}

    @property
    def used(self) -> int:
        return len({id(cell) for cells in self._of.values() for cell in cells.values()})

    def compute(self, resident: Resident, count: int) -> None:
        """Compute the next tokens of a sequence."""
        cells = self._of.setdefault(resident.name, {})
        for position in range(resident.computed, resident.computed + count):
            assert position not in cells
            assert position == len(cells), "positions have no gaps"
            cells[position] = object()
        resident.computed += count
        assert self.used <= self.cells, "the cache is full"

    def share(self, source: int, target: int, *, end: int) -> None:
        taken = {p: cell for p, cell in self._of.get(source, {}).items() if p < end}
        assert len(taken) == end, "what is shared was computed"
        self._of.setdefault(target, {}).update(taken)

    def forget(self, sequence: int, *, start: int = 0, end: int = -1) -> None:
        cells = self._of.get(sequence, {})
        kept = {p: c for p, c in cells.items() if p < start or (end >= 0 and p >= end)}
        self._of[sequence] = kept

    def forget_all(self) -> None:
        self._of.clear()


def make_cache(
    cells: int,
    *,
    running_max: int = 4,
    kept_max: int = 4,
    shares: bool = True,
    patience: int = 1_000_000,
) -> tuple[FakeCells, PrefixCache]:
    """Return cells for so many tokens, beside those that each sequence may waste."""
    fake = FakeCells(cells + running_max + kept_max)
    cache = PrefixCache(
        fake, running_max=running_max, kept_max=kept_max, shares=shares, patience=patience
    )
    return fake, cache


def admit(cache: PrefixCache, tokens: Sequence[int], reserved: int = 0) -> Resident:
    resident = cache.admit(tokens, reserved=reserved)
    assert resident is not None
    return resident


@given(sequences=st.lists(TOKENS, max_size=6), asked=TOKENS, removed=st.sets(st.integers(0, 5)))
def test_a_tree_knows_what_each_sequence_shares(
    sequences: list[list[int]], asked: list[int], removed: set[int]
) -> None:
    tree = PrefixTree()
    for name, tokens in enumerate(sequences):
        tree.add(name, tokens, is_pinned=name % 2 == 0)
    for name in sorted(removed):
        if name < len(sequences):
            tree.remove(name)
    left = {name: one for name, one in enumerate(sequences) if name not in removed}

    def common(tokens: Sequence[int]) -> int:
        pairs = enumerate(zip(tokens, asked, strict=False))
        return next((p for p, (a, b) in pairs if a != b), min(len(tokens), len(asked)))

    assert tree.shared(asked) == {n: common(one) for n, one in left.items() if common(one)}

    def beginnings(names: Sequence[int]) -> int:
        return len({tuple(left[n][:size]) for n in names for size in range(1, len(left[n]) + 1)})

    assert tree.cells == beginnings([*left])
    assert tree.held == beginnings([name for name in left if name % 2 == 0])


def test_who_comes_later_takes_over_what_was_computed() -> None:
    cells, cache = make_cache(100)
    first = admit(cache, range(10))
    cells.compute(first, 10)
    second = admit(cache, [*range(8), 50, 51])
    assert (second.cached, second.computed, cells.used) == (8, 8, 10)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    cells, cache = make_cache(100)
    cells.compute(admit(cache, range(10)), 10)
    assert admit(cache, range(10)).cached == 9


def test_who_comes_while_it_is_computed_waits_for_it() -> None:
    cells, cache = make_cache(100)
    first, second = admit(cache, range(10)), admit(cache, [*range(8), 50])
    cells.compute(first, 5)
    assert cache.is_waiting(second)
    cells.compute(first, 5)
    assert not cache.is_waiting(second)
    assert second.cached == 8


def test_whose_leader_leaves_goes_on_from_there() -> None:
    cells, cache = make_cache(100)
    first, second = admit(cache, range(10)), admit(cache, range(10))
    third = admit(cache, range(10))
    cells.compute(first, 4)
    cache.release(first)
    assert not cache.is_waiting(second)
    assert second.cached == 4
    # One of the two computes the rest for both.
    assert cache.is_waiting(third)


def test_what_left_stays_for_who_comes() -> None:
    cells, cache = make_cache(100)
    first = admit(cache, range(10), reserved=5)
    cells.compute(first, 10)
    first.tokens += [77, 78]
    cells.compute(first, 1)
    cache.release(first)
    assert admit(cache, [*range(10), 77, 90]).cached == 11


def test_who_was_not_asked_for_longest_leaves_first() -> None:
    cells, cache = make_cache(30)
    for start in (100, 200, 300):
        resident = admit(cache, range(start, start + 10))
        cells.compute(resident, 10)
        cache.release(resident)
    cache.release(admit(cache, [*range(100, 110), 1]))
    cells.compute(admit(cache, range(400, 410)), 10)
    kept = {n: admit(cache, range(n, n + 10)).cached for n in (300, 100)}
    assert kept == {300: 9, 100: 9}
    assert not cache._tree.shared(range(200, 210))


def leave(cells: FakeCells, cache: PrefixCache, start: int) -> None:
    resident = admit(cache, range(start, start + 10))
    cells.compute(resident, 10 - resident.computed)
    cache.release(resident)


def test_who_was_passed_over_for_too_long_has_to_go() -> None:
    cells, cache = make_cache(100, patience=1_000)
    leave(cells, cache, 100)
    cache.pass_over(150)
    leave(cells, cache, 200)
    # A quarter of those who leave come back, as long as nobody knows better.
    cache.pass_over(100)
    assert (cells.used, cache.cells_used) == (20, 20)
    cache.pass_over(1)
    assert (cells.used, cache.cells_used) == (10, 10)


def test_who_came_back_stays_for_as_long_again() -> None:
    cells, cache = make_cache(100, patience=1_000)
    leave(cells, cache, 100)
    cache.pass_over(200)
    cache.release(admit(cache, [*range(100, 110), 1]))
    cache.pass_over(200)
    assert cells.used == 10


@pytest.mark.parametrize("common", [0, 2])
def test_where_nobody_comes_back_they_go_sooner(common: int) -> None:
    cells, cache = make_cache(10_000, patience=1_000)
    for number in range(100):
        # A few tokens in common are no return.
        beginning = range(common)
        resident = admit(cache, [*beginning, *range(100 * number + 100, 100 * number + 110)])
        cells.compute(resident, len(resident.tokens) - resident.computed)
        cache.release(resident)
        cache.pass_over(30)
    leave(cells, cache, 100_000)
    cache.pass_over(51)
    assert cells.used == 0


def test_where_all_come_back_they_stay_for_all_that_it_would_cost_to_read_them_again() -> None:
    cells, cache = make_cache(1_000, patience=1_000)
    tokens = [*range(10)]
    for number in range(100):
        resident = admit(cache, tokens)
        cells.compute(resident, len(tokens) - resident.computed)
        cache.release(resident)
        cache.pass_over(200)
        tokens += [1_000 + number] * 5
    cache.pass_over(500)
    assert cells.used > len(tokens) - 10


def test_who_is_in_use_never_leaves() -> None:
    cells, cache = make_cache(30)
    first = admit(cache, range(10), reserved=10)
    cells.compute(first, 10)
    assert cache.admit(range(100, 111), reserved=0) is None
    assert cache.cells_used == 20


def test_what_is_shared_is_counted_once() -> None:
    cells, cache = make_cache(30)
    cells.compute(admit(cache, range(20)), 20)
    assert admit(cache, [*range(19), 50], reserved=9).cached == 19


def test_what_two_wrote_alike_is_kept_once() -> None:
    cells, cache = make_cache(100)
    both = [admit(cache, range(10), reserved=6) for _ in range(2)]
    for last, resident in enumerate(both):
        assert not cache.is_waiting(resident)
        cells.compute(resident, 10 - resident.computed)
        resident.tokens += [50, 51, 52, 53, 54, 60 + last]
        cells.compute(resident, 6)
    for resident in both:
        cache.release(resident)
    assert cells.used == cache.cells_used == 10 + 5 + 2


def test_a_model_that_cannot_share_shares_nothing() -> None:
    cells, cache = make_cache(30, shares=False)
    first = admit(cache, range(10))
    cells.compute(first, 10)
    assert admit(cache, range(10)).cached == 0
    cache.release(first)
    assert admit(cache, range(10)).cached == 0
    assert cache.admit(range(25), reserved=0) is None


@given(
    plans=st.lists(st.tuples(TOKENS, st.integers(0, 6), st.integers(0, 40)), max_size=25),
    room=st.integers(18, 40),
)
def test_whatever_comes_and_goes_no_cell_is_lost_or_overdrawn(
    plans: list[tuple[list[int], int, int]], room: int
) -> None:
    cells, cache = make_cache(room)
    running: list[Resident] = []
    for tokens, reserved, work in plans:
        if len(running) == 4:
            cache.release(running.pop(work % 4))
        resident = cache.admit(tokens, reserved=reserved)
        if resident is not None:
            running.append(resident)
            resident.tokens += [work % 3] * reserved
        for _ in range(work):
            ready = [r for r in running if r.computed < len(r.tokens) and not cache.is_waiting(r)]
            if ready:
                cells.compute(ready[work % len(ready)], 1)
        # Each may have computed the last token of its prompt beside one that is shared.
        assert cells.used <= cache.cells_used + len(running) + 4
    for resident in running:
        cache.release(resident)
    assert cache.cells_running == 0
    cache.drop_kept()
    assert (cells.used, cache.cells_used) == (0, 0)
