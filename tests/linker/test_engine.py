"""The engine serves everybody at once, forgets nothing, and stops when nobody listens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from chassis.canonical import Json
from linker.conversation import Choice, Delta, Finished, FinishReason
from linker.errors import ContextExceeded, QueueFull, SchemaUnsupported
from linker.providers.weights import Weights, load_weights
from tests.linker.engines import SETTINGS, TINY, ask, model_of, running, until_idle
from tests.linker.orders import action, collect, finish, prompt, said

pytestmark = pytest.mark.native

LONG: Json = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 100_000}},
    "required": ["text"],
}
ENDLESS = prompt(action(LONG), choice=Choice.REQUIRED, tokens_max=3_000)


@pytest.fixture(scope="module")
def weights(models_dir: Path) -> Weights:
    return load_weights("babbler", models_dir / "babbler.gguf")


@pytest.fixture(scope="module")
def trained() -> Weights:
    """Return a network whose attention is real."""
    return load_weights("actionvm-tiny", TINY)


async def test_what_is_asked_at_once_is_answered_as_if_alone(trained: Weights) -> None:
    prompts = [
        prompt(
            action(),
            choice=choice,
            text=f"Post that coin {number} rose {'again and ' * number}on Friday.",
            temperature=0,
            tokens_max=60,
        )
        for number in range(5)
        for choice in (Choice.NONE, Choice.AUTO, Choice.REQUIRED)
    ]
    alone = []
    for asked in prompts:
        async with running(trained) as engine:
            alone += await ask(engine, asked)
    async with running(trained) as engine:
        together = await ask(engine, *prompts)
    assert [*map(said, together)] == [*map(said, alone)]


async def test_dice_roll_for_each_alone(trained: Weights) -> None:
    prompts = [prompt(text=f"Coin {n}?", temperature=1.2, seed=n, tokens_max=40) for n in range(8)]
    async with running(trained) as engine:
        together = await ask(engine, *prompts)
        again = [(await ask(engine, asked))[0] for asked in prompts]
    assert [*map(said, together)] == [*map(said, again)]


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
        model = model_of(engine)
        asked = prompt(text="What moved?")
        longer = await model._tokenize(asked.conversation)
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
        while engine._count < 2:  # noqa: ASYNC110  # its grammar is made on a thread
            await asyncio.sleep(0)
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
            while engine._count < 2:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
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
        while engine._count < 21:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
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
