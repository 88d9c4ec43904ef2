"""What a step computes: how much of prompts beside those who write, and what they see of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import cast

import pytest

from linker.providers.cache import Resident
from linker.providers.costs import TILE
from linker.providers.engine import Engine
from linker.providers.generation import Generation
from linker.providers.press import CHUNK_TOKENS_MIN, PIECE_SECONDS
from linker.providers.settings import CHUNK_TOKENS
from linker.providers.weights import Weights
from linker.providers.writing import Writing
from tests.linker.engines import SETTINGS, model_of, running, until_count
from tests.linker.orders import action, finish, prompt
from tests.linker.test_engine import ENDLESS

pytestmark = pytest.mark.native

# A step writes one token for each, so that what else it computes is of prompts.
PLAIN = replace(SETTINGS, forces=False, guess_tokens_max=0)
WRITERS = 4
# So many of these are in the cache together.
WRITES = replace(ENDLESS, sampling=replace(ENDLESS.sampling, tokens_max=1_200))


class Recorder:
    """Passes batches on to llama.cpp when it may, and remembers how many rows they had."""

    def __init__(self, engine: Engine) -> None:
        context = engine._press._context
        self.rows: list[int] = []
        self.may_go = threading.Event()
        self._context, self._decode = context, context.decode
        context.decode = self.decode  # type: ignore[method-assign]  # it looks over its shoulder

    def decode(self, sizes: Sequence[int]) -> None:
        self.may_go.wait()
        self.rows.append(self._context.rows)
        self._decode(sizes)


async def rows_beside_writers(weights: Weights, *texts: str) -> list[int]:
    """Return how many rows the steps had while prompts were read beside those who write."""
    async with running(weights, PLAIN) as engine, AsyncExitStack() as stack:
        # What all have in common is there.
        await finish(model_of(engine).generate(prompt(action(), text=".", tokens_max=1)))
        for _ in range(WRITERS):
            writer = await stack.enter_async_context(aclosing(model_of(engine).generate(WRITES)))
            while not (await anext(writer)).tokens.output:
                pass
        recorder = Recorder(engine)
        asked_for = [prompt(action(), text=text, tokens_max=1) for text in texts]
        read = asyncio.gather(*(finish(model_of(engine).generate(one)) for one in asked_for))
        # They come together.
        await until_count(engine, WRITERS + len(texts))
        recorder.may_go.set()
        await read
        return recorder.rows


async def test_what_is_new_of_a_short_prompt_is_read_at_once(weights: Weights) -> None:
    rows = await rows_beside_writers(weights, "What moved today?")
    read = [count - WRITERS for count in rows if count > WRITERS]
    assert len(read) == 1
    assert CHUNK_TOKENS_MIN < read[0] <= TILE


async def test_short_prompts_take_no_more_than_a_chunk_of_a_step(weights: Weights) -> None:
    texts = [f"{number} moved. {'What moved, and why? ' * 3}" for number in range(9)]
    rows = await rows_beside_writers(weights, *texts)
    assert max(rows) == WRITERS + CHUNK_TOKENS


async def test_a_long_prompt_takes_little_of_the_time_of_many_who_write(weights: Weights) -> None:
    rows = await rows_beside_writers(weights, "What moved today, and why? " * 12)
    assert max(rows) == WRITERS + CHUNK_TOKENS_MIN
    assert len([count for count in rows if count > WRITERS]) > TILE // CHUNK_TOKENS_MIN


async def test_what_is_written_is_shown_in_pieces(weights: Weights) -> None:
    written, count = 0, 0
    async with running(weights, PLAIN) as engine:
        start = time.perf_counter()
        async with aclosing(model_of(engine).generate(ENDLESS)) as events:
            while written < 300:
                written, count = (await anext(events)).tokens.output, count + 1
        seconds = time.perf_counter() - start
    # Beside the pieces: that the prompt is read, and the first token.
    assert 3 < count <= seconds / PIECE_SECONDS + 2 < written


async def test_who_left_goes_when_others_have_computed_much(random_network: Weights) -> None:
    async with running(random_network) as engine:
        model = model_of(engine)
        moved = prompt(text="What moved today? " * 40, tokens_max=1)
        await finish(model.generate(moved))
        kept = engine.statistics.cells_used
        await finish(model.generate(prompt(text="Coin. " * 300, tokens_max=1)))
        again = await finish(model.generate(moved))
    assert kept > 200
    assert again.tokens.cached_input < kept // 2


async def test_guesses_are_made_where_their_rows_are_free(weights: Weights) -> None:
    async with running(weights) as engine:
        press = engine._press
        for size, seconds in ((44, 0.283), (36, 0.200), (64, 0.210)):
            press._costs.note_size(size, seconds)
        for rows in range(1, 17):
            press._costs.note(rows, 0.007 * rows)

        def right_min(writing: int, of_prompt: int) -> float:
            return press._find_right_min(
                [left(1) for _ in range(writing)], [left(of_prompt)] if of_prompt else []
            )

        assert right_min(4, 40) == 0
        # Neither what takes less than a tile, nor more than one.
        assert right_min(4, 32) == right_min(4, 0) == right_min(4, 90) > 0.5


def left(rows: int) -> Generation:
    """Return a generation of which so many tokens are to be computed."""
    generation = Generation([0] * rows, cast("Writing", None), tenant="")
    generation.resident = Resident(0, [0] * rows, 0)
    return generation
