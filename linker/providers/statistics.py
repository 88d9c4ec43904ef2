"""What an engine has done until now, for those who measure it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Statistics:
    """Sums since the engine was made; the cells are those of now.

    `rows` went through the model. `written` tokens were answered: `forced` ones had no alternative,
    `accepted` ones of those `guessed` were right. `cached` tokens of the `read` ones were in the
    cache. `python_seconds` is all that a step takes beside `decode_seconds`, waits included.
    """

    steps: int = 0
    rows: int = 0
    admitted: int = 0
    read: int = 0
    cached: int = 0
    written: int = 0
    forced: int = 0
    guessed: int = 0
    accepted: int = 0
    decode_seconds: float = 0.0
    mask_wait_seconds: float = 0.0
    python_seconds: float = 0.0
    cells: int = 0
    cells_used: int = 0
    cells_running: int = 0
