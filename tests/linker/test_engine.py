"""The engine serves everybody at once, forgets nothing, and stops when nobody listens."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import cast

import llguidance
import pytest

from chassis.canonical import Json
from linker.conversation import Choice, Delta, Finished, FinishReason, Prompt
from linker.errors import ContextExceeded, QueueFull, SchemaUnsupported
from linker.providers.engine import Engine
from linker.providers.residents import tokenize
from linker.providers.settings import CHUNK_TOKENS
from linker.providers.weights import Weights
from linker.providers.writing import Writing
from tests.linker.engines import SETTINGS, ask, model_of, running, until_count, until_idle
from tests.linker.orders import action, collect, finish, prompt, said

pytestmark = pytest.mark.native

LONG: Json = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 100_000}},
    "required": ["text"],
}
ENDLESS = prompt(action(LONG), choice=Choice.REQUIRED, tokens_max=3_000)


@pytest.mark.parametrize(
    "count", [200, pytest.param(1_000, marks=pytest.mark.soak)], ids=["few", "many"]
)
async def test_whoever_leaves_whenever_no_cell_is_lost(weights: Weights, count: int) -> None:
    dice = random.Random(count)
    settings = replace(SETTINGS, context_tokens_max=1_024, cache_tokens=3_000, waiting_max=count)
    asked = [
        prompt(
            action(),
            choice=dice.choice([Choice.NONE, Choice.REQUIRED]),
            text=f"{'What moved today? ' * dice.randint(0, 20)}Coin {number}?",
            tokens_max=dice.randint(1, 120),
            seed=number,
        )
        for number in range(count)
    ]
    events_max = [dice.choice([0, 1, 2, 5, 10, 1_000]) for _ in asked]

    async def leave_early(engine: Engine, asked: Prompt, events_max: int) -> None:
        async with aclosing(model_of(engine).generate(asked)) as events:
            for _ in range(events_max):
                if isinstance(await anext(events), Finished):
                    return

    async with running(weights, settings) as engine:
        await asyncio.gather(*map(leave_early, [engine] * count, asked, events_max))
        await until_idle(engine)
        engine._press._cache.drop_kept()
        assert engine._press._cache.cells_used == 0
        # The room is real: a full context is computed.
        (whole,) = await ask(engine, prompt(text="What moved today? " * 160, tokens_max=8))
        assert whole.tokens.read > 800


async def test_who_asks_much_does_not_keep_others_waiting(weights: Weights) -> None:
    """One after the other, for the least served tenant first."""
    ends: list[str] = []

    async def follow(engine: Engine, tenant: str) -> None:
        await finish(model_of(engine).generate(replace(prompt(), tenant=tenant)))
        ends.append(tenant)

    async with running(weights, replace(SETTINGS, running_max=1)) as engine:
        first = model_of(engine).generate(replace(ENDLESS, tenant="much"))
        await anext(first)
        rest = [asyncio.ensure_future(follow(engine, "much")) for _ in range(4)]
        await until_count(engine, 5)
        rest.append(asyncio.ensure_future(follow(engine, "little")))
        await until_count(engine, 6)
        # What is computed now is for those who ask much.
        written = (await anext(first)).tokens.output
        while (await anext(first)).tokens.output < written + 20:
            pass
        await first.aclose()
        await asyncio.gather(*rest)
    assert ends == ["little", *["much"] * 4]


async def test_a_long_prompt_does_not_stop_those_who_write(weights: Weights) -> None:
    # A step writes one token, so that what is written counts the steps.
    settings = replace(SETTINGS, forces=False, guess_tokens_max=0)
    async with running(weights, settings) as engine:
        model = model_of(engine)
        async with aclosing(model.generate(ENDLESS)) as writer:
            await anext(writer)
            long = asyncio.ensure_future(
                finish(model.generate(prompt(text="What moved today? " * 500, tokens_max=1)))
            )
            while not long.done():
                event = await anext(writer)
        # Beside one who writes, a step reads half of a chunk.
        written = event.tokens.output
        assert written >= (await long).tokens.input // (CHUNK_TOKENS // 2)


def test_an_end_is_never_guessed(weights: Weights) -> None:
    """A grammar that has taken one rolls back one token too many."""
    end, *words = weights.model.ends[0], *weights.model.tokenize("Coin one rose.")[:3]
    asked = prompt()
    writing = Writing(
        weights.model, weights.exits, weights.grammars.make(asked), prompt=asked, guesses=True
    )
    writing.begin([*words, end, *words])
    assert writing.guess(9, right_min=0) == []
    writing.begin([*words, words[0], end, *words])
    assert writing.guess(9, right_min=0) == [words[0]]


async def test_a_batch_that_fails_ends_those_in_it_and_nobody_after_them(weights: Weights) -> None:
    async with running(weights) as engine:
        asked = prompt()
        matcher = engine.weights.grammars.make(asked)
        with pytest.raises(RuntimeError, match="llama_decode answered -1"):
            await finish(engine.generate(asked, [2**30], matcher))
        assert (await ask(engine, asked))[0].text


async def test_a_panic_under_a_grammar_ends_its_generation_alone(weights: Weights) -> None:
    class PanicError(BaseException):
        """What an extension in Rust raises where it gives up is no `Exception`."""

    class Panicking:
        """A matcher that breaks when it is first asked."""

        def compute_ff_tokens(self) -> list[int]:
            return []

        def unsafe_compute_mask_ptr(self, _address: int, _size: int) -> None:
            raise PanicError

    async with running(weights) as engine:
        asked = prompt(tokens_max=300)
        other = asyncio.ensure_future(ask(engine, asked))
        broken = cast("llguidance.LLMatcher", Panicking())
        with pytest.raises(RuntimeError, match="PanicError"):
            await finish(engine.generate(asked, [1, 2, 3], broken))
        assert (await other)[0].text


async def test_an_engine_that_nobody_has_any_more_is_gone(weights: Weights) -> None:
    engine = Engine(weights, SETTINGS)
    (finished,) = await ask(engine, prompt())
    await until_idle(engine)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert finished.text
    assert gone() is None


async def test_a_shared_beginning_is_read_once(weights: Weights) -> None:
    asked = [prompt(text="What moved today? " * 40 + tail) for tail in ("Tell.", "Why?")]
    async with running(weights) as engine:
        first, second = [(await ask(engine, one))[0] for one in asked]
        statistics = engine.statistics
    assert first.tokens.cached_input == 0
    assert 0 < second.tokens.input < 20 < second.tokens.cached_input
    assert statistics.cached == second.tokens.cached_input


async def test_a_shared_beginning_is_read_once_by_those_who_come_together(
    weights: Weights,
) -> None:
    beginning = "What moved today? " * 100
    prompts = [prompt(text=f"{beginning}Coin {n}.", tokens_max=8) for n in range(8)]
    async with running(weights) as engine:
        finished = await ask(engine, *prompts)
    computed = sum(one.tokens.input for one in finished)
    assert computed < finished[0].tokens.read + 8 * 20


async def test_a_next_turn_reads_only_what_is_new(weights: Weights) -> None:
    async with running(weights) as engine:
        (first,) = await ask(engine, prompt(text="What moved?"))
        asked = prompt(text="What moved?")
        longer = await tokenize(engine, asked.conversation)
        answer = engine.weights.model.tokenize(first.text + "<|im_end|>\n")
        events = engine.generate(asked, [*longer, *answer], engine.weights.grammars.make(asked))
        second = await finish(events)
    assert second.tokens.cached_input >= len(longer)


async def test_a_cancelled_generation_is_not_in_the_next_step(weights: Weights) -> None:
    async with running(weights) as engine:
        async with aclosing(model_of(engine).generate(ENDLESS)) as events:
            async for event in events:
                if event.tokens.output > 30:
                    break
        steps = engine.statistics.steps
        await until_idle(engine)
        # One step may be under way, and the next one lets it go.
        assert engine.statistics.steps <= steps + 2
        assert engine.statistics.cells_running == 0


async def test_a_cancelled_prompt_is_read_no_further(weights: Weights) -> None:
    long = prompt(text="What moved today? " * 600, tokens_max=8)
    async with running(weights) as engine:
        reading = asyncio.ensure_future(finish(model_of(engine).generate(long)))
        while not engine.statistics.rows:  # noqa: ASYNC110  # a thread reads
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until_idle(engine)
        assert engine.statistics.rows < 1_000
        # What it has read is not lost.
        (again,) = await ask(engine, long)
    assert again.tokens.cached_input > 0


async def test_a_full_queue_refuses(weights: Weights) -> None:
    async with running(weights, replace(SETTINGS, running_max=1, waiting_max=1)) as engine:
        model = model_of(engine)
        first = model.generate(ENDLESS)
        await anext(first)
        waiting = asyncio.ensure_future(finish(model.generate(prompt())))
        await until_count(engine, 2)
        with pytest.raises(QueueFull):
            await finish(model.generate(prompt()))
        await first.aclose()
        assert isinstance(await waiting, Finished)


async def test_who_no_longer_waits_makes_room(weights: Weights) -> None:
    async with running(weights, replace(SETTINGS, running_max=1, waiting_max=1)) as engine:
        model = model_of(engine)
        first = model.generate(ENDLESS)
        await anext(first)
        for _ in range(3):
            waiting = asyncio.ensure_future(finish(model.generate(prompt())))
            await until_count(engine, 2)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await first.aclose()


async def test_what_does_not_fit_beside_others_waits_for_them(weights: Weights) -> None:
    asked = [prompt(text=f"Coin {n}?", tokens_max=400) for n in range(6)]
    small = replace(SETTINGS, context_tokens_max=512, cache_tokens=512)
    async with running(weights, small) as engine:
        finished = await ask(engine, *asked)
    async with running(weights) as engine:
        assert [*map(said, finished)] == [*map(said, await ask(engine, *asked))]


async def test_what_never_fits_is_refused(weights: Weights) -> None:
    async with running(weights, replace(SETTINGS, context_tokens_max=512)) as engine:
        with pytest.raises(ContextExceeded):
            await ask(engine, prompt(tokens_max=500))
        assert (await ask(engine, prompt()))[0].text


async def test_a_grammar_that_gives_up_ends_its_generation_alone(weights: Weights) -> None:
    # It compiles, and takes too much once the model is in the middle of it.
    pattern = "^((a{1,1000}){1,1000}){1,1000}$"
    hostile: Json = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
    }
    bad = prompt(action(hostile), choice=Choice.REQUIRED)
    async with running(weights) as engine:
        model = model_of(engine)
        good = asyncio.ensure_future(finish(model.generate(prompt())))
        with suppress(SchemaUnsupported):
            await finish(model.generate(bad))
        assert (await good).reason is FinishReason.STOP


async def test_closing_ends_what_runs_and_what_waits(weights: Weights) -> None:
    async with running(weights, replace(SETTINGS, running_max=1)) as engine:
        model = model_of(engine)
        first = model.generate(ENDLESS)
        await anext(first)
        rest = [asyncio.ensure_future(finish(model.generate(prompt()))) for _ in range(20)]
        await until_count(engine, 21)
        await engine.close()
        async with asyncio.timeout(5):
            found = await asyncio.gather(*rest, return_exceptions=True)
            with pytest.raises(asyncio.CancelledError):
                await finish(first)
    assert {type(error) for error in found} == {asyncio.CancelledError}


async def test_a_slow_reader_gets_what_has_come_together_as_one_delta(weights: Weights) -> None:
    async with (
        running(weights) as engine,
        aclosing(model_of(engine).generate(prompt())) as events,
    ):
        await anext(events)
        await until_idle(engine)
        await asyncio.sleep(0)
        *deltas, finished = [event async for event in events]
    assert len(deltas) == 1
    assert isinstance(deltas[0], Delta)
    assert isinstance(finished, Finished)
    assert deltas[0].text == finished.text


async def test_nothing_that_is_kept_is_in_the_way(weights: Weights) -> None:
    small = replace(SETTINGS, context_tokens_max=512, cache_tokens=512)
    async with running(weights, small) as engine:
        for number in range(12):
            await collect(model_of(engine).generate(prompt(text=f"{number} coins?")))
        statistics = engine.statistics
    assert statistics.cells_used <= statistics.cells
