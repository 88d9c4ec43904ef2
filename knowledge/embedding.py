"""Turns texts into vectors whose cosine tells how similar they are."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .words import words_of

Vector: TypeAlias = NDArray[np.float32]


class Embedder(Protocol):
    """Makes vectors; `name` tells model and dimension, and only equal names may be compared."""

    name: str

    def embed(self, text: str) -> Vector:
        """Return a vector of length 1, or of zeros for a text that says nothing."""


class HashingEmbedder:
    """Signed feature hashing (Weinberger et al. 2009): no model, so lexical similarity only.

    The same text gives the same vector in every process.
    """

    dimension = 256
    name = f"hashing-{dimension}"

    def embed(self, text: str) -> Vector:
        """Return a vector of length 1, or of zeros for a text without words."""
        vector = np.zeros(self.dimension, dtype=np.float32)
        for word, count in Counter(words_of(text)).items():
            number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
            sign = 1.0 if number % 2 else -1.0
            # The tenth repetition of a word says less than its first.
            vector[(number >> 1) % self.dimension] += sign * np.sqrt(count)
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length else vector


def similarities(vectors: Vector, query: Vector) -> Vector:
    """Return the cosine of each row with the query.

    Row by row: a product by BLAS may give equal rows results that differ in the last bit, and then
    the order of equal passages would depend on where they are stored.
    """
    return np.asarray((vectors * query).sum(axis=1), dtype=np.float32)
