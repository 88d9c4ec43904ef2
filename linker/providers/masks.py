"""Finds out what grammars allow, on a thread of its own, while llama.cpp computes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from .sampling import Bits


class Masked(Protocol):
    """A text under a grammar."""

    def mask(self, bits: Bits, guess: Sequence[int]) -> None:
        """Write what may follow now, and after each token of a guess, one row each."""


# A text, the rows of its masks, and the guess that is computed after it.
Job: TypeAlias = tuple[Masked, Bits, Sequence[int]]


class Masks:
    """A thread that is there as long as this is open. Nobody else may touch the texts meanwhile."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Sequence[Job] | None] = SimpleQueue()
        self._results: SimpleQueue[list[BaseException | None]] = SimpleQueue()

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="masks", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._jobs.put(None)

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin with the masks of a step."""
        self._jobs.put(jobs)

    def wait(self) -> list[BaseException | None]:
        """Return for each job how it failed, or None."""
        return self._results.get()

    def _run(self) -> None:
        while (jobs := self._jobs.get()) is not None:
            self._results.put([_run(job) for job in jobs])


def _run(job: Job) -> BaseException | None:
    text, bits, guess = job
    try:
        text.mask(bits, guess)
    except BaseException as error:  # noqa: BLE001  # it belongs to whoever asked for this text
        # A panic of an extension in Rust is no `Exception`, and must not end the thread.
        return error
    return None
