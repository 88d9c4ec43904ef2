"""Those who watch runs: told that there is news, never waited for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from .facts import GenerationFinished
from .journal.port import Journal, Record

# Who watches a run of another worker sees its events so much later at most, and no text.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class TextDelta:
    """Text that a model is writing in a step; nobody keeps it once the step has ended."""

    step: int
    text: str


Sight: TypeAlias = Record | TextDelta


@dataclass
class Writing:
    """What a model has written in a step so far."""

    step: int
    parts: list[str] = field(default_factory=list)


@dataclass
class _Read:
    """How much of a writing a watcher has read."""

    writing: Writing
    count: int = 0

    def __call__(self) -> str:
        """Return what is new."""
        text = "".join(self.writing.parts[self.count :])
        self.count = len(self.writing.parts)
        return text


class Watcher:
    """One of those who watch a run."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        # Whether the journal may have more than was read from it.
        self.has_events = True
        # By step; a workflow may be in several at once.
        self._unread: dict[int, _Read] = {}

    def look(self) -> None:
        """Read the journal."""
        self.has_events = True
        self.news.set()

    def begin(self, writing: Writing) -> None:
        """Read what is written from now on."""
        self._unread[writing.step] = _Read(writing)

    def take(self) -> list[TextDelta]:
        """Return what was written since the last time.

        Who reads slower than a model writes gets more text at a time, and never misses any.
        """
        return [TextDelta(step, text) for step, read in self._unread.items() if (text := read())]

    def take_rest(self, step: int) -> list[TextDelta]:
        """Return what was written in a step since the last time; it has ended."""
        read = self._unread.pop(step, None)
        text = read() if read else ""
        return [TextDelta(step, text)] if text else []


class Audience:
    """The watchers of the runs of this worker."""

    def __init__(self) -> None:
        # The runs that this worker plays; of others, nobody tells.
        self.here: set[str] = set()
        self._watchers: dict[str, list[Watcher]] = defaultdict(list)
        # What models are writing now, by run and step.
        self._writings: dict[str, dict[int, Writing]] = defaultdict(dict)

    def begin(self, run: str, step: int) -> None:
        """Say that a model begins to write in a step, or once more."""
        writing = self._writings[run][step] = Writing(step)
        for watcher in self._watchers.get(run, ()):
            watcher.begin(writing)

    def write(self, run: str, step: int, text: str) -> None:
        """Say what a model writes."""
        self._writings[run][step].parts.append(text)
        for watcher in self._watchers.get(run, ()):
            watcher.news.set()

    def end(self, run: str, step: int) -> None:
        """Say that a step has ended: what was written is in the journal, or was broken off."""
        self._writings[run].pop(step, None)
        if not self._writings[run]:
            del self._writings[run]

    def tell(self, run: str) -> None:
        """Say that the journal of a run has more."""
        for watcher in self._watchers.get(run, ()):
            watcher.look()

    @contextmanager
    def watcher(self, run: str) -> Iterator[Watcher]:
        """Watch a run for the length of a block, from the beginning of its present steps on."""
        watcher = Watcher()
        for writing in self._writings.get(run, {}).values():
            watcher.begin(writing)
        self._watchers[run].append(watcher)
        try:
            yield watcher
        finally:
            self._watchers[run].remove(watcher)
            if not self._watchers[run]:
                del self._watchers[run]


async def watch(
    journal: Journal, audience: Audience, run: str, *, after: int
) -> AsyncGenerator[Sight, None]:
    """Yield the journal of a run after a sequence, then what happens, until the run has ended.

    Events come from the journal, so that none is lost on a slow watcher. The text of a step comes
    before the event that ends it.
    """
    with audience.watcher(run) as watcher:
        while True:
            watcher.news.clear()
            if watcher.has_events:
                watcher.has_events = False
                now = await journal.get(run)
                while after < now.sequence:
                    for record in await journal.events(run, after=after):
                        if isinstance(record.event, GenerationFinished):
                            for delta in watcher.take_rest(record.event.step):
                                yield delta
                        yield record
                        after = record.sequence
                if now.end_time is not None:
                    return
            for delta in watcher.take():
                yield delta
            await _wait(watcher, is_told=run in audience.here)


async def _wait(watcher: Watcher, *, is_told: bool) -> None:
    """Wait for news; who is not told looks again after a while."""
    if is_told:
        await watcher.news.wait()
        return
    timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, watcher.look)
    try:
        await watcher.news.wait()
    finally:
        timer.cancel()
