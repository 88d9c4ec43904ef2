"""The text of one generation as it grows: what may be shown of it, and where it ends."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Draft:
    """Collects bytes, shows whole characters, and holds back what may become a stop.

    Stops end text, not calls: after the opener of a call they mean nothing.
    """

    def __init__(self, stops: Sequence[str], *, opener: str = "") -> None:
        self._stops = tuple(stops)
        self._opener = opener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._written = ""
        self._shown = 0
        self._call_start = -1
        self.is_stopped = False

    @property
    def text(self) -> str:
        """Return the text before any call."""
        return self._written if self._call_start < 0 else self._written[: self._call_start]

    @property
    def call(self) -> str:
        """Return what follows the opener of a call; empty if there is none."""
        if self._call_start < 0:
            return ""
        return self._written[self._call_start + len(self._opener) :]

    @property
    def is_call(self) -> bool:
        """Tell whether a call has begun."""
        return self._call_start >= 0

    def add(self, piece: bytes) -> str:
        """Take the bytes of a token and return what can be shown now."""
        return self._show(self._decoder.decode(piece))

    def finish(self) -> str:
        """Return what was held back, now that nothing follows."""
        if self.is_stopped:
            return ""
        shown = self._show(self._decoder.decode(b"", final=True))
        return shown + self._show_until(len(self._written))

    def _show(self, characters: str) -> str:
        before = len(self._written)
        self._written += characters
        if self.is_call or not (self._stops or self._opener):
            return self._show_until(len(self._written))
        stop = self._find(self._stops, before)
        opener = self._find((self._opener,) if self._opener else (), before)
        if stop >= 0 and not 0 <= opener < stop:
            self.is_stopped = True
            self._written = self._written[:stop]
        elif opener >= 0:
            self._call_start = opener
        return self._show_until(len(self._written) - self._held())

    def _find(self, texts: Sequence[str], before: int) -> int:
        """Return where one of the texts starts that ends in what is new; -1 if there is none."""
        places = (self._written.find(text, max(0, before - len(text) + 1)) for text in texts)
        return min((place for place in places if place >= 0), default=-1)

    def _held(self) -> int:
        """Return the length of the longest end that could be the start of a stop."""
        if self.is_stopped or self.is_call:
            return 0
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(self._written) + 1))
                if self._written.endswith(stop[:size])
            ),
            default=0,
        )

    def _show_until(self, end: int) -> str:
        shown = self._written[self._shown : end]
        self._shown = max(self._shown, end)
        return shown
