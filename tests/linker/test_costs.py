"""What steps cost is learned from steps, and rows are computed in batches that take least."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from linker.providers.batch import LlamaContext
from linker.providers.costs import TILE, Costs
from linker.providers.weights import Weights


def costs(*, step: float, row: float) -> Costs:
    """Return what is known after steps of one to sixteen rows."""
    known = Costs()
    for number in range(200):
        rows = 1 + number % 16
        known.note(rows, step + row * rows)
    return known


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_what_must_be_right_is_the_share_that_rows_have_in_a_step(rows: int) -> None:
    known = costs(step=0.010, row=0.002)
    wanted = 0.002 * rows / (0.010 + 0.002 * rows)
    assert known.share_of_rows(rows) == pytest.approx(wanted, rel=0.01)


def test_where_rows_cost_nothing_every_guess_pays() -> None:
    assert costs(step=0.010, row=0).share_of_rows(16) == pytest.approx(0, abs=0.01)


def test_where_only_rows_cost_no_guess_pays_that_may_be_wrong() -> None:
    assert costs(step=0, row=0.003).share_of_rows(1) == pytest.approx(1, abs=0.01)


def test_as_long_as_all_steps_are_alike_a_guess_is_tried() -> None:
    known = Costs()
    known.note(1, 0.003)
    known.note(1, 0.004)
    assert known.share_of_rows(1) == 0


def known_sizes(**seconds: float) -> Costs:
    """Return what is known after batches of these sizes."""
    known = Costs()
    for name, took in seconds.items():
        known.note_size(int(name.removeprefix("of_")), took)
    return known


def test_what_is_not_known_is_tried() -> None:
    assert known_sizes(of_1=0.007).sizes(2) == (2,)
    assert Costs().sizes(50) == (50,)


def test_a_few_rows_are_computed_one_by_one_where_that_takes_less() -> None:
    known = known_sizes(of_1=0.007, of_2=0.021, of_3=0.025, of_4=0.028)
    assert [known.sizes(rows) for rows in (1, 2, 3, 4)] == [(1,), (1, 1), (1, 1, 1), (4,)]


def test_a_batch_is_filled_up_to_a_tile_where_that_takes_less() -> None:
    # From a tile on, rows take the same: 128 tell what 64 take.
    known = known_sizes(of_20=0.900, of_44=0.283, of_36=0.200, of_128=0.420)
    assert [known.sizes(rows) for rows in (44, 36, 64, 65)] == [(TILE,), (36,), (64,), (65,)]
    assert [rows for rows in (20, 36, 44, 64, 65) if known.fills(rows)] == [44]


def test_what_has_changed_is_found_out() -> None:
    known = known_sizes(of_1=0.007, of_2=0.021)
    ways = [known.sizes(2) for _ in range(200)]
    assert ways.count((2,)) == 3
    for _ in range(20):
        known.note_size(2, 0.010)
    assert known.sizes(2) == (2,)


@pytest.mark.native
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1), (TILE,)])
def test_rows_have_the_same_scores_in_batches_of_any_size(
    random_network: Weights, sizes: tuple[int, ...]
) -> None:
    def scores(sizes: tuple[int, ...]) -> NDArray[np.float32]:
        model = random_network.model
        context = LlamaContext(model, cells=256, sequences_max=3, rows_max=128, threads=1)
        for sequence in range(3):
            context.clear_batch()
            context.add([*range(5 + sequence)], position=0, sequence=sequence, scored=4)
            context.decode((context.rows,))
        context.clear_batch()
        context.add([7, 8], position=5, sequence=0, scored=1)
        context.add([9], position=6, sequence=1, scored=1)
        context.decode(sizes)
        first = context.scores()[:2].copy()
        # Nothing is left of the rows that belonged to nobody.
        context.clear_batch()
        context.add([3], position=7, sequence=2, scored=1)
        context.decode((1,))
        return np.concatenate((first, context.scores()[:1]))

    assert scores(sizes) == pytest.approx(scores((3,)), abs=0.01)


@pytest.mark.native
def test_rows_that_belong_to_nobody_leave_nothing_behind(random_network: Weights) -> None:
    model = random_network.model
    context = LlamaContext(model, cells=64, sequences_max=1, rows_max=128, threads=1)
    for _ in range(5):
        context.clear_batch()
        context.add([7, 8, 9], position=0, sequence=0, scored=1)
        context.decode((TILE,))
        assert context.rows == 3
        context.forget(0)
