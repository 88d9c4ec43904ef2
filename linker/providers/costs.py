"""What steps of a model take, as it turns out, and how to compute rows in the least time."""

from __future__ import annotations

# As many rows as llama.cpp needs to compute the attention of a processor in tiles.
TILE = 64
# Up to so many rows may take less time one by one: the kernels for two and three are poor.
_FEW = 4
# One step in so many is computed in the usual way although that seemed worse: it may have changed.
_AGAIN = 64
# What must be won at least to leave the usual way.
_WORTH = 0.95
# How much of what is known the next measurement takes the place of.
_SHARE_NEW = 0.05
_SHARE_NEW_OF_SIZE = 0.25


class Costs:
    """What a step of so many rows takes: something, and something more for each row.

    A graphics card reads its weights in the time that it could compute many rows, so a row more
    costs nothing there. A processor computes as long as it reads, and a row has its price; but it
    depends on the kernels of llama.cpp. With Q8_0 and AVX-512, two rows together take one and a
    half times as long as one after the other, and 60 half as long again as 64.
    """

    def __init__(self) -> None:
        self._rows = self._seconds = 0.0
        self._rows_spread = self._together = 0.0
        self._of_sizes: dict[int, float] = {}
        self._steps = 0

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a step of those who write; old ones count less and less."""
        if not self._rows:
            self._rows, self._seconds = rows, seconds
        more_rows, more_seconds = rows - self._rows, seconds - self._seconds
        self._rows += _SHARE_NEW * more_rows
        self._seconds += _SHARE_NEW * more_seconds
        old = 1 - _SHARE_NEW
        self._rows_spread = old * (self._rows_spread + _SHARE_NEW * more_rows**2)
        self._together = old * (self._together + _SHARE_NEW * more_rows * more_seconds)

    def note_size(self, size: int, seconds: float) -> None:
        """Learn what a batch of this size took."""
        if size > TILE:
            # From there on, each row takes the same.
            size, seconds = TILE, seconds * TILE / size
        size = _rounded(size)
        known = self._of_sizes.get(size, seconds)
        self._of_sizes[size] = known + _SHARE_NEW_OF_SIZE * (seconds - known)

    def sizes(self, rows: int) -> tuple[int, ...]:
        """Return the sizes of batches that take the least time for so many rows.

        They may add up to more; those rows are computed for nothing.
        """
        self._steps += 1
        whole, one = self._of_sizes.get(_rounded(rows)), self._of_sizes.get(1)
        if whole is None or self._steps % _AGAIN == 0:
            return (rows,)
        if 1 < rows <= _FEW and one is not None and rows * one < _WORTH * whole:
            return (1,) * rows
        return (TILE,) if self.fills(rows) else (rows,)

    def fills(self, rows: int) -> bool:
        """Tell whether a batch of so many rows is filled up to a tile, and more rows are free."""
        whole, tile = self._of_sizes.get(_rounded(rows)), self._of_sizes.get(TILE)
        if whole is None or tile is None:
            return False
        return TILE // 2 <= rows < TILE and tile < _WORTH * whole

    def share_of_rows(self, rows: int) -> float:
        """Return which share of a step is for its rows; so much of a guess must be right to pay.

        As many rows that are guessed take this share of the step, and what is right of them saves
        a whole one. 0 as long as nothing is known: guesses are how it becomes known.
        """
        if not self._rows_spread:
            return 0.0
        row = max(0.0, self._together / self._rows_spread)
        step = self._seconds + row * (rows - self._rows)
        return min(1.0, row * rows / step) if step > 0 else 1.0


def _rounded(size: int) -> int:
    """Return what stands for batches of about this size; a whole tile is like no smaller one."""
    return size if size <= _FEW or size == TILE else size // 8 * 8 + 7
