"""How much of this machine one model may take; light to import, unlike the engine."""

from __future__ import annotations

from dataclasses import dataclass

WAITING_MAX = 32
RUNNING_MAX = 16
# Sequences that are in nobody's use, and may be continued.
KEPT_MAX = 32
CHUNK_TOKENS = 128
# Rows of one step for those who write, at least one each; the rest is for guesses.
WRITING_ROWS = 128


@dataclass(frozen=True)
class Placement:
    """Which layers go onto which graphics cards.

    `gpu_layers` -1 is all of them, `tensor_split` the share of each card, empty for by its memory.
    """

    gpu_layers: int = -1
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()


ANYWHERE = Placement()


@dataclass(frozen=True)
class EngineSettings:
    """What one model may take of this machine.

    `cache_tokens` are those of all sequences together, what they share counted once; at least a
    whole context, and 0 for twice as many. `forces` and `guess_tokens_max` are for comparisons: an
    answer without forced tokens is as valid, one without guesses is the same, and both come later.
    Guesses are made where more than `guess_right_min` of them is right; None measures what pays.
    """

    threads: int = 1
    context_tokens_max: int = 8192
    cache_tokens: int = 0
    running_max: int = RUNNING_MAX
    kept_max: int = KEPT_MAX
    waiting_max: int = WAITING_MAX
    chunk_tokens: int = CHUNK_TOKENS
    guess_tokens_max: int = 16
    guess_right_min: float | None = None
    forces: bool = True
    placement: Placement = ANYWHERE

    def cells(self, context_tokens: int) -> int:
        """Return of how many tokens a model of this context keeps keys and values."""
        cache_tokens = self.cache_tokens or 2 * context_tokens
        return max(cache_tokens, context_tokens) + self.running_max + self.kept_max

    def __post_init__(self) -> None:
        assert 0 < self.running_max <= WRITING_ROWS, self.running_max
