"""Those who watch runs: told that there is news, never waited for."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from .facts import GenerationFinished
from .store import Record, RunStore

# A watcher that reads slower than a model writes misses the oldest of them.
DELTAS_MAX = 1_000


@dataclass(frozen=True)
class TextDelta:
    """Text that a model is writing in a step; nobody keeps it."""

    step: int
    text: str


Sight: TypeAlias = Record | TextDelta


class Watcher:
    """One of those who watch a run."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        # Whether the journal may have more than was read from it.
        self.has_events = True
        self._deltas: deque[TextDelta] = deque(maxlen=DELTAS_MAX)

    def tell(self, delta: TextDelta | None) -> None:
        """Say that there is a delta, or an event in the journal."""
        if delta is None:
            self.has_events = True
        else:
            self._deltas.append(delta)
        self.news.set()

    def take_deltas(self, step_max: int | None = None) -> list[TextDelta]:
        """Take the deltas of the steps up to a step, or all."""
        taken = []
        while self._deltas and (step_max is None or self._deltas[0].step <= step_max):
            taken.append(self._deltas.popleft())
        return taken


class Audience:
    """The watchers of all runs."""

    def __init__(self) -> None:
        self._watchers: dict[str, list[Watcher]] = defaultdict(list)

    def tell(self, run: str, delta: TextDelta | None = None) -> None:
        """Say to all who watch a run that there is news."""
        for watcher in self._watchers.get(run, ()):
            watcher.tell(delta)

    @contextmanager
    def watcher(self, run: str) -> Iterator[Watcher]:
        """Watch a run for the length of a block."""
        watcher = Watcher()
        self._watchers[run].append(watcher)
        try:
            yield watcher
        finally:
            self._watchers[run].remove(watcher)
            if not self._watchers[run]:
                del self._watchers[run]


async def watch(
    store: RunStore, audience: Audience, run: str, *, after: int
) -> AsyncGenerator[Sight, None]:
    """Yield the journal of a run after a sequence, then what happens, until the run has ended.

    Events come from the store, so that none is lost on a slow watcher. The deltas of a step come
    before the event that ends it.
    """
    with audience.watcher(run) as watcher:
        while True:
            watcher.news.clear()
            while watcher.has_events:
                watcher.has_events = False
                has_ended = (await asyncio.to_thread(store.get, run)).end_time is not None
                for record in await asyncio.to_thread(store.journal, run, after=after):
                    if isinstance(record.event, GenerationFinished):
                        for delta in watcher.take_deltas(record.event.step):
                            yield delta
                    yield record
                    after = record.sequence
                    watcher.has_events = True
                if has_ended and not watcher.has_events:
                    return
            for delta in watcher.take_deltas():
                yield delta
            await watcher.news.wait()
