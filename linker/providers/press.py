"""Computes one step of all generations at once: what each writes next, and more of their prompts.

All of it belongs to the thread of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from llguidance.numpy import allocate_token_bitmask

from .batch import DecodeFailed, LlamaContext
from .cache import PrefixCache, Resident
from .costs import TILE, Costs
from .generation import Generation, Item
from .masks import Masks
from .sampling import Scores
from .settings import EngineSettings
from .statistics import Statistics
from .turns import Turns

# A prompt goes on, however many write.
CHUNK_TOKENS_MIN = 4
# Nobody reads faster than what comes together in this time, and each piece wakes four threads.
PIECE_SECONDS = 0.02


class Press:
    """The generations that wait, read and write, over one context."""

    def __init__(
        self,
        context: LlamaContext,
        cache: PrefixCache,
        settings: EngineSettings,
        statistics: Statistics,
    ) -> None:
        self._context = context
        self._cache = cache
        self._settings = settings
        self._statistics = statistics
        self._turns = Turns()
        self._costs = Costs()
        # The share of a guess that must be right, as it is now.
        self._right_min = 0.0
        self._is_reading = False
        self._waiting: list[Generation] = []
        self._running: list[Generation] = []
        self._may_admit = True
        self._bits = allocate_token_bitmask(context.rows_max, context.vocabulary_size)
        self._posts: dict[asyncio.AbstractEventLoop, list[tuple[Generation, Sequence[Item]]]] = {}

    @property
    def is_busy(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self._waiting or self._running)

    def take(self, generation: Generation) -> None:
        """Let a generation wait for its turn."""
        self._turns.enter(generation.tenant)
        self._waiting.append(generation)
        self._may_admit = True

    def step(self, masks: Masks) -> None:
        """Go on with everybody, and tell who reads."""
        statistics = self._statistics
        start, decode_seconds = time.perf_counter(), statistics.decode_seconds
        self._drop_cancelled()
        self._admit()
        self._fill()
        if self._context.rows:
            self._compute(masks)
        statistics.steps += 1
        statistics.cells_used = self._cache.cells_used
        statistics.cells_running = self._cache.cells_running
        self._deliver()
        decode_seconds = statistics.decode_seconds - decode_seconds
        statistics.python_seconds += time.perf_counter() - start - decode_seconds

    def fail(self, error: Exception) -> None:
        """End all that run; what the cache holds is not known any more."""
        self._cache.clear()
        for generation in [*self._running]:
            # Each reader raises an error of his own.
            self._end(generation, RuntimeError(f"{error}"))
        self._deliver()

    def end_all(self) -> None:
        """Cancel everybody, and tell who reads."""
        for generation in (*self._waiting, *self._running):
            generation.is_cancelled = True
        self._drop_cancelled()
        self._deliver()

    def _drop_cancelled(self) -> None:
        for generation in [one for one in (*self._waiting, *self._running) if one.is_cancelled]:
            self._end(generation, asyncio.CancelledError())

    def _admit(self) -> None:
        """Let in whose turn it is, as long as there is room."""
        while self._waiting and self._may_admit and len(self._running) < self._settings.running_max:
            generation = self._turns.order(self._waiting)[0]
            writing = generation.writing
            resident = self._cache.admit(generation.prompt, reserved=writing.tokens_left)
            if resident is None:
                # The others wait behind it, or it would wait forever.
                self._may_admit = False
                return
            self._waiting.remove(generation)
            self._running.append(generation)
            generation.resident = resident
            self._statistics.admitted += 1
            try:
                resident.tokens += writing.begin(generation.prompt)
                if writing.is_finished:
                    self._finish(generation)
            except BaseException as error:  # noqa: BLE001  # as in `_compute`
                self._end(generation, error)

    def _fill(self) -> None:
        """Put tokens into the batch: first of those who write, then of prompts."""
        context, chunk_tokens = self._context, self._settings.chunk_tokens
        reading: list[Generation] = []
        writing: list[Generation] = []
        context.clear_batch()
        for generation in self._running:
            generation.first_row, generation.added = -1, 0
            resident = _resident(generation)
            is_read = resident.computed >= resident.prompt_tokens
            (writing if is_read else reading).append(generation)
        self._is_reading = bool(reading)
        self._right_min = self._find_right_min(writing, reading)
        for generation in writing:
            self._add(generation, context.rows_max - chunk_tokens)
        if reading:
            # Who waits for a first token comes before who waits for the next one where they are
            # many; the fewer they are, the less of the time of the others is theirs.
            share = int(chunk_tokens * min(1, len(reading) ** 2 / max(1, 2 * len(writing) ** 2)))
            chunk_end = context.rows + chunk_tokens
            rows_max = context.rows + max(CHUNK_TOKENS_MIN, share)
            for generation in self._turns.order(reading):
                resident = _resident(generation)
                if self._cache.is_waiting(resident):
                    continue
                if resident.prompt_tokens - resident.cached <= TILE:
                    # In pieces, a few rows take nearly as long as all that is new in most prompts.
                    left = resident.prompt_tokens - resident.computed
                    rows_max = max(rows_max, context.rows + left)
                self._add(generation, min(rows_max, chunk_end))

    def _find_right_min(
        self, writing: Sequence[Generation], reading: Sequence[Generation]
    ) -> float:
        """Return the share of a guess that must be right to pay, in a step of these."""
        fixed = self._settings.guess_right_min
        if fixed is not None:
            return fixed
        of_prompts = sum(map(_rows_left, reading))
        rows = sum(map(_rows_left, writing)) + min(of_prompts, self._settings.chunk_tokens)
        return 0.0 if self._costs.fills(rows) else self._costs.share_of_rows(len(writing))

    def _add(self, generation: Generation, rows_max: int) -> None:
        """Add what a sequence has not computed, as far as there is room, and a guess after it."""
        resident = _resident(generation)
        room = rows_max - self._context.rows
        rest = resident.tokens[resident.computed :]
        tokens = rest[:room]
        if not tokens:
            return
        is_all = len(tokens) == len(rest)
        generation.guess = []
        if is_all and self._settings.guess_tokens_max:
            # Others want rows too.
            room = min(self._settings.guess_tokens_max, (room - len(tokens)) // len(self._running))
            generation.guess = generation.writing.guess(room, right_min=self._right_min)
        first_row = self._context.add(
            [*tokens, *generation.guess],
            position=resident.computed,
            sequence=resident.name,
            scored=1 + len(generation.guess) if is_all else 0,
        )
        generation.first_row = first_row if is_all else -1
        generation.added = len(tokens)
        self._turns.give(generation.tenant, len(tokens))

    def _compute(self, masks: Masks) -> None:
        statistics = self._statistics
        writing = [one for one in self._running if one.first_row >= 0]
        start = time.perf_counter()
        masks.start([(one.writing, self._bits[one.first_row :], one.guess) for one in writing])
        sizes = self._costs.sizes(self._context.rows)
        try:
            self._context.decode(sizes)
        except DecodeFailed as error:
            masks.wait()
            self.fail(error)
            return
        computed = time.perf_counter()
        if not self._is_reading:
            self._costs.note(self._context.rows, computed - start)
        self._costs.note_size(sizes[0], (computed - start) / len(sizes))
        for generation in self._running:
            _resident(generation).computed += generation.added
        self._cache.pass_over(self._context.rows)
        errors = masks.wait()
        statistics.decode_seconds += computed - start
        statistics.mask_wait_seconds += time.perf_counter() - computed
        statistics.rows += self._context.rows
        scores = self._context.scores()
        for generation, mask_error in zip(writing, errors, strict=True):
            if mask_error is not None:
                self._end(generation, mask_error)
                continue
            try:
                self._write(generation, scores)
            except BaseException as problem:  # noqa: BLE001  # it belongs to who asked for this
                # A panic of an extension in Rust is no `Exception`, and must not end the thread.
                self._end(generation, problem)

    def _write(self, generation: Generation, scores: Scores) -> None:
        """Choose what comes next, and go on for as long as that was guessed."""
        writing, guess, resident = generation.writing, generation.guess, _resident(generation)
        if not generation.is_read:
            generation.is_read = True
            self._post(generation, ("", 0))
        right = 0
        while True:
            row = generation.first_row + right
            chosen = writing.choose(scores[row], self._bits[row])
            resident.tokens += chosen
            same = 0
            while same < len(chosen) and guess[right : right + 1] == chosen[same : same + 1]:
                same, right = same + 1, right + 1
            if writing.is_finished or same < len(chosen):
                break
        if guess:
            resident.computed += right
            self._cache.forget_guess(resident)
            writing.learn(guessed=len(guess), right=right)
            self._statistics.guessed += len(guess)
            self._statistics.accepted += right
        if writing.is_finished:
            self._finish(generation)
        elif (now := time.perf_counter()) - generation.shown_at >= PIECE_SECONDS:
            generation.shown_at = now
            self._post(generation, (writing.shown(), writing.written_count))

    def _finish(self, generation: Generation) -> None:
        writing = generation.writing
        used = generation.used(output=writing.written_count)
        self._end(generation, (writing.shown(), used.output), writing.finish(used))

    def _end(self, generation: Generation, *last: Item) -> None:
        """Let a generation go, with what is left to say."""
        statistics, writing = self._statistics, generation.writing
        self._turns.leave(generation.tenant)
        statistics.written += writing.written_count
        statistics.forced += writing.forced_count
        if generation.is_read:
            used = generation.used(output=0)
            statistics.read += used.read
            statistics.cached += used.cached_input
        if generation.resident is None:
            self._waiting.remove(generation)
        else:
            self._running.remove(generation)
            self._cache.release(generation.resident)
        self._may_admit = True
        self._post(generation, *last)

    def _post(self, generation: Generation, *items: Item) -> None:
        self._posts.setdefault(generation.loop, []).append((generation, items))

    def _deliver(self) -> None:
        """Hand over what this step has made, all at once."""
        for loop, posts in self._posts.items():
            try:
                loop.call_soon_threadsafe(_put, posts)
            except RuntimeError:
                # The loop is gone, and with it whoever read there.
                for generation, _ in posts:
                    generation.is_cancelled = True
        self._posts = {}


def _rows_left(generation: Generation) -> int:
    resident = _resident(generation)
    return len(resident.tokens) - resident.computed


def _resident(generation: Generation) -> Resident:
    assert generation.resident is not None, "who runs is in the cache"
    return generation.resident


def _put(posts: Sequence[tuple[Generation, Sequence[Item]]]) -> None:
    for generation, items in posts:
        generation.post(items)
