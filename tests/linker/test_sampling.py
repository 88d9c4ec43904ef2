"""The dice are fair, and what is cut off or forbidden never comes up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from linker.conversation import Sampling
from linker.providers.sampling import Bits, Sampler, largest_of

# Large enough for every short cut.
SIZE = 1_024


def bits(allowed: NDArray[np.bool_]) -> Bits:
    return np.packbits(allowed, bitorder="little").view(np.int32)


EVERYTHING = bits(np.ones(SIZE, np.bool_))


def scores_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, SIZE).astype(np.float32)


@given(seed=st.integers(0, 99), count=st.integers(1, SIZE))
def test_the_largest_are_those_that_sorting_finds(seed: int, count: int) -> None:
    # With equals among them.
    scores = scores_of(seed).round(1)
    assert (largest_of(scores, count) == np.argsort(-scores, kind="stable")[:count]).all()


@pytest.mark.parametrize("share", [0.02, 0.5])
@pytest.mark.parametrize("temperature", [0.0, 1e-30, 0.7, 2.0])
@given(seed=st.integers(0, 99))
def test_what_is_forbidden_is_not_chosen(temperature: float, share: float, seed: int) -> None:
    allowed = np.random.default_rng(seed).random(SIZE) < share
    allowed[seed] = True
    sampler = Sampler(Sampling(1, temperature=temperature, top_p=0.9, top_k=seed, seed=seed))
    assert allowed[sampler.choose(scores_of(seed), bits(allowed))]


def expected(scores: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
    """Return the share of each token, the long way."""
    weights = np.exp((scores.astype(np.float64) - scores.max()) / sampling.temperature)
    total = weights.sum()
    order = np.argsort(-weights, kind="stable")
    if sampling.top_k:
        weights[order[sampling.top_k :]] = 0
        total = weights.sum()
    if sampling.top_p < 1:
        kept = np.searchsorted(weights[order].cumsum(), sampling.top_p * total) + 1
        weights[order[kept:]] = 0
    weights[weights < sampling.min_p * weights.max()] = 0
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1, temperature=1.0),
        Sampling(1, temperature=0.5, top_k=5),
        Sampling(1, temperature=1.0, top_p=0.6),
        Sampling(1, temperature=1.5, top_k=40, top_p=0.8),
        Sampling(1, temperature=1.0, min_p=0.3),
        Sampling(1, temperature=1.5, top_p=0.9, min_p=0.05),
    ],
    ids=repr,
)
def test_tokens_come_up_as_often_as_they_should(sampling: Sampling) -> None:
    scores, rolls = scores_of(7), 4_000
    shares = expected(scores, sampling)
    sampler = Sampler(sampling)
    counts = np.bincount([sampler.choose(scores, EVERYTHING) for _ in range(rolls)], minlength=SIZE)
    assert not counts[shares == 0].any()
    often = shares * rolls >= 5
    observed = np.array([*counts[often], counts[~often].sum()])
    wanted = np.array([*shares[often], shares[~often].sum()]) * rolls
    chi_square = ((observed - wanted) ** 2 / np.maximum(wanted, 1e-9))[wanted > 1].sum()
    # Far out for any number of kinds: six standard deviations above the mean.
    kinds = int((wanted > 1).sum())
    assert chi_square < kinds + 6 * (2 * kinds) ** 0.5


def test_what_was_written_is_less_likely_each_time() -> None:
    scores = np.zeros(SIZE, np.float32)
    scores[:3] = 3.0, 2.0, 1.2
    sampler = Sampler(Sampling(9, frequency_penalty=1.0, presence_penalty=0.5))
    chosen = []
    for _ in range(5):
        chosen.append(sampler.choose(scores, EVERYTHING))
        sampler.note(chosen[-1])
    # 3, 1.5, 0.5 of the first; 2, 0.5 of the second; 1.2 of the third.
    assert chosen == [0, 1, 0, 2, 0]


def test_the_same_seed_rolls_the_same() -> None:
    def roll(seed: int) -> list[int]:
        sampler = Sampler(Sampling(1, temperature=1.0, seed=seed))
        return [sampler.choose(scores_of(n), EVERYTHING) for n in range(8)]

    assert roll(-3) == roll(-3)
    assert roll(-3) != roll(4)
