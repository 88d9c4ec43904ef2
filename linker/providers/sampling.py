"""Chooses the next token; the same seed chooses the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..conversation import Sampling


class Sampler:
    """The dice of one generation."""

    def __init__(self, sampling: Sampling) -> None:
        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        # Seeds are signed in the contract, and unsigned here.
        self._dice = np.random.default_rng(sampling.seed % 2**64)

    def choose(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> int:
        """Return one of the allowed tokens, of which there is at least one."""
        tokens = np.flatnonzero(allowed)
        scores = logits[tokens].astype(np.float64)
        if self._temperature == 0:
            return int(tokens[scores.argmax()])
        weights = np.exp((scores - scores.max()) / self._temperature)
        if self._top_p < 1:
            weights = _nucleus(weights, self._top_p)
        total = weights.cumsum()
        # One number per token, whatever the vocabulary: cheap, and easy to repeat.
        place = np.searchsorted(total, self._dice.random() * total[-1], side="right")
        return int(tokens[min(int(place), len(tokens) - 1)])


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.float64]:
    """Drop all but the likeliest tokens that together have a share of `top_p`."""
    order = np.argsort(-weights, kind="stable")
    share = weights[order].cumsum()
    kept = order[: int(np.searchsorted(share, top_p * share[-1])) + 1]
    cut = np.zeros_like(weights)
    cut[kept] = weights[kept]
    return cut
