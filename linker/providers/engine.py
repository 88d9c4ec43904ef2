"""Runs one model for everybody at once: a thread that computes, and its queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import llguidance

from ..conversation import Delta, Finished, Prompt
from ..errors import ContextExceeded, ModelUnusable, QueueFull
from .batch import LlamaContext
from .cache import PrefixCache
from .generation import Generation
from .llama import LoadFailed
from .masks import Masks
from .press import Press
from .settings import WRITING_ROWS, EngineSettings
from .statistics import Statistics
from .weights import Weights, load_weights
from .writing import Writing

# So many weights are multiplied in the time that it takes to pass over a cell of somebody else, for
# one head of one layer: 1.6 ns on an EPYC, where flash attention looks at the mask of each cell.
PASSING_OVER = 90


class Engine:
    """One model, with a thread that is there as long as there is work.

    So an engine that nobody refers to any more goes, and its memory with it.
    """

    def __init__(self, weights: Weights, settings: EngineSettings) -> None:
        """Take memory for the cache. Raises `LoadFailed` if there is none."""
        model = weights.model
        if model.is_recurrent:
            # What it has read it cannot take back.
            settings = replace(settings, guess_tokens_max=0)
        self.weights = weights
        self.settings = settings
        self.context_tokens = min(model.trained_tokens, settings.context_tokens_max)
        sequences_max = settings.running_max + settings.kept_max
        context = LlamaContext(
            model,
            cells=settings.cells(self.context_tokens),
            sequences_max=sequences_max,
            rows_max=settings.chunk_tokens + WRITING_ROWS,
            threads=settings.threads,
        )
        cache = PrefixCache(
            context,
            running_max=settings.running_max,
            kept_max=settings.kept_max,
            shares=not model.is_recurrent,
            patience=model.weights_count // (PASSING_OVER * model.heads_count),
        )
        self._statistics = Statistics(cells=context.cells)
        self._press = Press(context, cache, settings, self._statistics)
        self._changed = threading.Lock()
        self._arrived: list[Generation] = []
        self._count = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def statistics(self) -> Statistics:
        """Return what was done until now."""
        return replace(self._statistics)

    async def generate(
        self, prompt: Prompt, tokens: Sequence[int], matcher: llguidance.LLMatcher
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas and the end; closing this stops the work before the next step.

        Raises `QueueFull` if too much is under way, and `ContextExceeded`.
        """
        tokens_max = prompt.sampling.tokens_max
        if len(tokens) + tokens_max > self.context_tokens:
            raise ContextExceeded(len(tokens), tokens_max, self.context_tokens)
        settings = self.settings
        if self._count >= settings.running_max + settings.waiting_max:
            raise QueueFull(self._count - settings.running_max)
        writing = Writing(
            self.weights.model,
            self.weights.exits,
            matcher,
            prompt=prompt,
            forces=settings.forces,
            guesses=settings.guess_tokens_max > 0,
        )
        generation = Generation(tokens, writing, tenant=prompt.tenant)
        self._count += 1
        try:
            self._submit(generation)
            async for event in generation.events():
                yield event
        finally:
            self._count -= 1
            generation.is_cancelled = True

    async def close(self) -> None:
        """Cancel all work and wait for the thread to end."""
        with self._changed:
            self._is_closed = True
            thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _submit(self, generation: Generation) -> None:
        with self._changed:
            assert not self._is_closed, "a closed engine has no callers"
            self._arrived.append(generation)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        press = self._press
        with Masks() as masks:
            while self._take_arrived():
                try:
                    press.step(masks)
                except Exception as error:  # noqa: BLE001  # those who wait must learn of a bug
                    press.fail(error)

    def _take_arrived(self) -> bool:
        """Take in what has come; false, and the thread has to end, if there is nothing to do."""
        press = self._press
        with self._changed:
            for generation in self._arrived:
                press.take(generation)
            self._arrived.clear()
            if press.is_busy and not self._is_closed:
                return True
            self._thread = None
            if self._is_closed:
                press.end_all()
        return False


def load_engine(
    name: str, path: Path, settings: EngineSettings, *, adapter: Path | None = None
) -> Engine:
    """Load a file, and take the memory that running it needs. Raises `ModelUnusable`."""
    weights = load_weights(name, path, placement=settings.placement, adapter=adapter)
    try:
        return Engine(weights, settings)
    except LoadFailed as error:
        raise ModelUnusable(f"local/{name}", f"{error}") from error
