"""Chooses the next token; the same seed chooses the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..conversation import Sampling

Scores = NDArray[np.float32]
# One bit per token, as llguidance writes them; all bits are set where a grammar allows everything.
Bits = NDArray[np.int32]

# What is added to the scores of eight tokens, for each byte of a mask.
_FORBIDDEN = np.float32(-1e30)
_PENALTIES = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"),
    np.float32(0),
    _FORBIDDEN,
)
# Less than one in so many: then those are looked at alone.
_FEW = 8
# A temperature below this one is as cold, and overflows nothing.
_COLDEST = 1e-6
# The scores are searched for the largest in blocks of this size.
_BLOCK = 64


class Sampler:
    """The dice of one generation; what was written weighs in the penalties."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._has_penalties = bool(sampling.frequency_penalty or sampling.presence_penalty)
        self._written: dict[int, int] = {}
        # Seeds are signed in the contract, and unsigned here.
        self._dice = np.random.default_rng(sampling.seed % 2**64)

    def note(self, token: int) -> None:
        """Take notice of a token that was written."""
        if self._has_penalties:
            self._written[token] = self._written.get(token, 0) + 1

    def choose(self, scores: Scores, allowed: Bits) -> int:
        """Return one of the allowed tokens, of which there is at least one.

        Rolls the dice once if it does at all: that is cheap, and easy to repeat.
        """
        if self._written:
            scores = self._penalised(scores)
        if self._sampling.temperature == 0:
            token = int(scores.argmax())
            # A model that was trained wants what it may; only if not, all have to be looked at.
            if allowed[token >> 5] >> (token & 31) & 1:
                return token
            return int(_masked(scores, allowed).argmax())
        if self._sampling.top_k:
            likeliest = largest_of(scores, self._sampling.top_k)
            # What a trained model wants it mostly may.
            if bool((allowed[likeliest >> 5] >> (likeliest & 31) & 1).all()):
                return self._roll(scores, likeliest)
        is_allowed = np.unpackbits(allowed.view(np.uint8), bitorder="little", count=len(scores))
        few = int(np.count_nonzero(is_allowed)) < len(scores) // _FEW
        if few:
            names = np.flatnonzero(is_allowed)
            return int(names[self._roll(scores[names])])
        return self._roll(_masked(scores, allowed))

    def _roll(self, scores: Scores, likeliest: NDArray[np.int64] | None = None) -> int:
        tokens, weights = self._weigh(scores, likeliest)
        return _draw(tokens, weights, self._dice.random())

    def _penalised(self, scores: Scores) -> Scores:
        tokens = np.fromiter(self._written, np.int64, len(self._written))
        counts = np.fromiter(self._written.values(), np.float32, len(self._written))
        lowered = scores.copy()
        lowered[tokens] -= counts * np.float32(self._sampling.frequency_penalty)
        lowered[tokens] -= np.float32(self._sampling.presence_penalty)
        return lowered

    def _weigh(
        self, scores: Scores, likeliest: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64] | None, Scores]:
        """Return the tokens to choose from, None for all in order, and the weight of each.

        `likeliest` are the `top_k` with the largest scores, where they are known.
        """
        sampling = self._sampling
        temperature = np.float32(max(sampling.temperature, _COLDEST))
        tokens = likeliest
        if tokens is None and sampling.top_k:
            tokens = largest_of(scores, sampling.top_k)
        if tokens is not None:
            chosen = scores[tokens]
            weights = np.exp((chosen - chosen[0]) / temperature)
            total = float(weights.sum())
        else:
            weights = np.exp((scores - scores.max()) / temperature)
            total = float(weights.sum(dtype=np.float64))
            if sampling.top_p < 1:
                tokens, weights = _likeliest(weights, sampling.top_p * total)
        if sampling.top_p < 1 and tokens is not None:
            kept = int(np.searchsorted(weights.cumsum(dtype=np.float64), sampling.top_p * total))
            tokens, weights = tokens[: kept + 1], weights[: kept + 1]
        if sampling.min_p:
            # The likeliest weighs 1.
            weights = np.where(weights >= sampling.min_p, weights, np.float32(0))
        return tokens, weights


def largest_of(scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the largest, the largest first; of equals those that come first."""
    blocks = len(scores) // _BLOCK
    if count >= blocks:
        return np.argsort(-scores, kind="stable")[:count]
    # A block is a column: the largest of all columns at once are found much faster than of rows.
    tops = np.sort(scores[: blocks * _BLOCK].reshape(_BLOCK, blocks).max(axis=0))
    # So many blocks have something as large as this, so nothing smaller is among the largest.
    candidates = np.flatnonzero(scores >= tops[-count])
    return candidates[np.argsort(-scores[candidates], kind="stable")[:count]]


def _masked(scores: Scores, allowed: Bits) -> Scores:
    penalties = _PENALTIES.take(allowed.view(np.uint8), axis=0).reshape(-1)
    return scores + penalties[: len(scores)]


def _likeliest(weights: Scores, share: float) -> tuple[NDArray[np.int64], Scores]:
    """Return at least so many of the largest weights that they add up to a share."""
    count = 64
    while True:
        tokens = largest_of(weights, count)
        found = weights[tokens]
        if count >= len(weights) or found.sum(dtype=np.float64) >= share:
            return tokens, found
        count *= 8


def _draw(tokens: NDArray[np.int64] | None, weights: Scores, place: float) -> int:
    """Return the token at a place between 0 and 1 of all weights laid side by side."""
    if tokens is None and len(weights) % _BLOCK == 0:
        # Sums of blocks first: adding one after the other is slow.
        sums = weights.reshape(-1, _BLOCK).sum(axis=1).cumsum(dtype=np.float64)
        wanted = place * sums[-1]
        block = min(int(np.searchsorted(sums, wanted, side="right")), len(sums) - 1)
        rest = wanted - (sums[block - 1] if block else 0.0)
        start = block * _BLOCK
        index = start + _index(weights[start : start + _BLOCK], rest)
    else:
        index = _index(weights, place * float(weights.sum(dtype=np.float64)))
    return index if tokens is None else int(tokens[index])


def _index(weights: Scores, wanted: float) -> int:
    """Return where the sum of the weights exceeds what is wanted; somewhere with a weight."""
    index = int(np.searchsorted(weights.cumsum(dtype=np.float64), wanted, side="right"))
    if index < len(weights) and weights[index] > 0:
        return index
    # Rounding leads beyond the end.
    return int(np.flatnonzero(weights)[-1])
