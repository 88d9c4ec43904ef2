"""Who may send next where a service takes only so much at a time: first come, first served."""

from __future__ import annotations

import asyncio
from datetime import datetime
from weakref import WeakValueDictionary


class Turns:
    """The lines before actions with their credentials, in which the runs of a worker stand."""

    def __init__(self) -> None:
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Until when they are closed; how often something was sent is in the journal.
        self._closed: dict[str, datetime] = {}

    def line(self, place: str) -> asyncio.Lock:
        """Return the line before a place; its lock serves in the order of arrival."""
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = asyncio.Lock()
        return line

    def close(self, place: str, until: datetime) -> None:
        """Let nobody send before a time."""
        self._closed[place] = max(until, self._closed.get(place, until))

    def closed_until(self, place: str, now: datetime) -> datetime | None:
        """Return when a place opens; None if it is open."""
        until = self._closed.get(place)
        if until is not None and until <= now:
            until = self._closed.pop(place) and None
        return until
