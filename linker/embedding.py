"""Embeddings and rankings: what models that do not talk are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from .conversation import Tokens


@dataclass(frozen=True)
class Embedded:
    """One unit vector per text, all of one length, and what making them used."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: Tokens


@dataclass(frozen=True)
class Ranked:
    """One score per document, in their order; higher is more relevant."""

    scores: tuple[float, ...]
    tokens: Tokens
