"""A generation is checked before it starts, and paid however it ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest
from structlog.testing import capture_logs

from chassis.errors import InvalidField, PeerUnavailable
from linker.conversation import Choice, FinishReason, Prompt, Tokens, WrittenCall
from linker.errors import (
    BudgetExceeded,
    ContextExceeded,
    LinkNotFound,
    ModelNotFound,
    ModelUnusable,
    ProviderNotFound,
    QueueFull,
    SchemaUnsupported,
)
from linker.linker import LOCAL, Linker
from linker.links import ModelConfig
from linker.orders import Answer
from linker.providers.local import LocalProvider
from linker.providers.scripted import Line, Script, ScriptedProvider, by_turn, in_order
from linker.routing.turns import WAITING_MAX
from linker.tokens import Count, Counter, count_at_most
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import (
    ACCOUNT,
    BOSS,
    NOW,
    RUN,
    action,
    answer,
    collect,
    make_linker,
    order,
    prompt,
)

POST = WrittenCall("board.post", '{"stars": 5.0, "text": "Up."}')
CONFIG = ModelConfig("local/actor")


def make(script: Script, **facts: int) -> tuple[Linker, FakeGasMeter]:
    gas = FakeGasMeter()
    return make_linker(ScriptedProvider(script, **facts), gas), gas  # type: ignore[arg-type]  # named in the calls


async def test_linking_twice_gives_the_same_link() -> None:
    linker, _ = make(in_order())
    assert await linker.link(CONFIG) == await linker.link(CONFIG)


async def test_a_provider_learns_who_asks() -> None:
    asked: list[Prompt] = []

    def say(prompt: Prompt) -> Line:
        asked.append(prompt)
        return Line("Up.")

    linker, _ = make(say)
    link = await linker.link(CONFIG)
    await answer(linker, order(link.name, prompt()))
    assert [prompt.tenant for prompt in asked] == [ACCOUNT]


async def test_a_link_can_be_read() -> None:
    linker, _ = make(in_order())
    link = await linker.link(CONFIG)
    assert await linker.find(link.name) == link
    assert link.create_time == NOW


async def test_an_unknown_link_is_not_found() -> None:
    linker, _ = make(in_order())
    with pytest.raises(LinkNotFound):
        await linker.find("links/x")


async def test_an_unknown_provider_is_answered_with_the_known_ones() -> None:
    linker, _ = make(in_order())
    with pytest.raises(ProviderNotFound, match="no provider openai; this linker knows local"):
        await linker.link(ModelConfig("openai/gpt-9"))


async def test_an_unknown_model_is_not_found() -> None:
    linker, _ = make(in_order())
    with pytest.raises(ModelNotFound):
        await linker.link(ModelConfig("local/nobody"))


async def test_a_context_that_is_too_small_is_refused() -> None:
    linker, _ = make(in_order(), context_tokens=100)
    with pytest.raises(ModelUnusable, match="100 tokens, not 101"):
        await linker.link(ModelConfig("local/actor", context_tokens_min=101))


async def test_an_answer_is_whole_and_priced() -> None:
    linker, _ = make(in_order(Line("All is well.")))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt()))
    assert (done.text, done.reason, done.model) == ("All is well.", FinishReason.STOP, CONFIG.model)
    assert done.gas == done.tokens.read + done.tokens.output > 0


async def test_the_worst_case_is_held_before_the_model_starts() -> None:
    linker, gas = make(in_order(Line("All is well.")))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt(tokens_max=77)))
    (held,) = gas.reservations
    assert (held.request_id, held.account, held.run, held.callers) == ("r1", ACCOUNT, RUN, (BOSS,))
    assert (held.item, held.worst) == ("model local/actor", Tokens(done.tokens.read, 77))


async def test_what_was_used_is_charged_to_the_hold() -> None:
    linker, gas = make(in_order(Line("All is well.")))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt()))
    assert gas.settled == {"holds/r1": done.tokens}


async def test_the_count_of_before_is_compared_with_what_the_provider_says() -> None:
    linker, gas = make(in_order(Line("All is well.")))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt()))
    assert gas.counted == {"holds/r1": Count(done.tokens.read, Counter.TOKENIZER)}


async def test_a_provider_that_was_stopped_has_said_nothing_to_compare() -> None:
    linker, gas = make(in_order(Line("one two three")))
    link = await linker.link(CONFIG)
    async with aclosing(linker.generate(order(link.name, prompt()))) as events:
        await anext(events)
    assert gas.counted == {"holds/r1": None}


async def test_what_a_provider_cannot_count_is_held_as_a_bound() -> None:
    linker, gas = make(in_order(Line("All is well.")), counts=False)
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt(tokens_max=77)))
    bound = count_at_most(prompt().conversation)
    assert gas.reservations[0].worst == Tokens(bound.amount, 77)
    assert gas.settled["holds/r1"] == done.tokens
    assert gas.counted == {"holds/r1": bound}
    assert await linker.count_tokens(link.name, prompt().conversation) == bound.amount


async def test_no_more_is_held_than_a_context_has_room_for() -> None:
    linker, gas = make(in_order(Line("Long.")), counts=False, context_tokens=100)
    link = await linker.link(CONFIG)
    await answer(linker, order(link.name, prompt(text="word " * 100, tokens_max=40)))
    assert gas.reservations[0].worst == Tokens(60, 40)


async def test_an_answer_that_fills_the_context_is_refused_without_a_count() -> None:
    linker, gas = make(in_order(), counts=False, context_tokens=100)
    link = await linker.link(CONFIG)
    with pytest.raises(ContextExceeded):
        await answer(linker, order(link.name, prompt(tokens_max=100)))
    assert gas.reservations == []


async def test_a_call_has_canonical_arguments() -> None:
    linker, _ = make(in_order(Line(calls=(POST,))))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt(action(), choice=Choice.AUTO)))
    assert [call.arguments for call in done.calls] == ['{"stars":5,"text":"Up."}']


async def test_a_repeated_generation_names_its_calls_the_same() -> None:
    linker, _ = make(by_turn(Line(calls=(POST, POST))))
    link = await linker.link(CONFIG)
    asked = prompt(action(), choice=Choice.AUTO)
    first, second = [await answer(linker, order(link.name, asked)) for _ in range(2)]
    other = await answer(linker, order(link.name, asked, request_id="r2"))
    assert first.calls == second.calls
    assert len({call.id for call in (*first.calls, *other.calls)}) == 4


@pytest.mark.parametrize(
    "call",
    [
        WrittenCall("board.burn", "{}"),
        WrittenCall("board.post", '{"stars": 6, "text": "Up."}'),
        WrittenCall("board.post", '{"stars": 5'),
        WrittenCall("board.post", '{"stars": 5, "text": "Up.", "more": 1e999}'),
    ],
)
async def test_a_call_that_breaks_its_schema_is_never_answered(call: WrittenCall) -> None:
    linker, gas = make(in_order(Line(calls=(call,))))
    link = await linker.link(CONFIG)
    with pytest.raises(SchemaUnsupported):
        await answer(linker, order(link.name, prompt(action(), choice=Choice.AUTO)))
    assert "holds/r1" in gas.settled


async def test_a_conversation_that_does_not_fit_costs_nothing() -> None:
    linker, gas = make(in_order(), context_tokens=100)
    link = await linker.link(CONFIG)
    with pytest.raises(ContextExceeded, match="of 100 tokens"):
        await answer(linker, order(link.name, prompt(tokens_max=100)))
    assert gas.reservations == []


@pytest.mark.parametrize("error", [BudgetExceeded(ACCOUNT, "0 left"), PeerUnavailable("gas")])
async def test_without_gas_the_model_is_not_asked(error: BudgetExceeded | PeerUnavailable) -> None:
    gas, provider = FakeGasMeter(), ScriptedProvider(in_order())
    linker = make_linker(provider, gas)
    link = await linker.link(CONFIG)
    gas.fail_next(error)
    with pytest.raises(type(error)):
        await answer(linker, order(link.name, prompt()))
    assert provider.prompts == []


async def test_an_answer_that_cannot_be_charged_is_not_given() -> None:
    gas = FakeGasMeter()

    def say(_: Prompt) -> Line:
        gas.fail_next(PeerUnavailable("gas"))
        return Line("Free lunch.")

    linker = make_linker(ScriptedProvider(say), gas)
    link = await linker.link(CONFIG)
    with pytest.raises(PeerUnavailable):
        await answer(linker, order(link.name, prompt()))


async def test_a_model_that_refuses_leaves_the_hold_for_the_next_try() -> None:
    linker, gas = make(in_order(QueueFull(32), Line("Now.")))
    link = await linker.link(CONFIG)
    with pytest.raises(QueueFull):
        await answer(linker, order(link.name, prompt()))
    assert gas.settled == {}
    done = await answer(linker, order(link.name, prompt()))
    assert gas.settled == {"holds/r1": done.tokens}


async def test_closing_early_charges_what_was_written_until_then() -> None:
    linker, gas = make(in_order(Line("one two three four five")))
    link = await linker.link(CONFIG)
    async with aclosing(linker.generate(order(link.name, prompt()))) as events:
        await anext(events)
        await anext(events)
    assert gas.settled["holds/r1"].output == 2


async def test_cancelling_twice_still_charges() -> None:
    linker, gas = make(in_order(Line("one two three")))
    link = await linker.link(CONFIG)
    gas.may_settle.clear()
    task = asyncio.ensure_future(collect(linker.generate(order(link.name, prompt()))))
    async with asyncio.timeout(10):
        while not linker._cashier._paying:  # noqa: ASYNC110  # a task that tells nobody
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gas.may_settle.set()
    await linker.close()
    assert gas.settled["holds/r1"].output == 3


async def test_a_settlement_that_fails_after_a_cancel_is_logged() -> None:
    linker, gas = make(in_order(Line("one two three")))
    link = await linker.link(CONFIG)
    with capture_logs() as logs:
        async with aclosing(linker.generate(order(link.name, prompt()))) as events:
            await anext(events)
            gas.fail_next(PeerUnavailable("gas"))
        await linker.close()
    assert [entry["event"] for entry in logs] == ["gas.settle_failed"]


@pytest.mark.native
async def test_actions_are_refused_by_a_model_that_takes_none(local: LocalProvider) -> None:
    linker = make_linker(local, FakeGasMeter())
    link = await linker.link(ModelConfig("local/babbler"))
    from tests.linker.engines import weights_of  # noqa: PLC0415  # it loads llama.cpp

    (await weights_of(local)).template.takes_actions = False
    with pytest.raises(InvalidField, match="actions"):
        await answer(linker, order(link.name, prompt(action(), choice=Choice.AUTO)))
    with pytest.raises(ModelUnusable, match="takes no actions"):
        await linker.link(ModelConfig("local/babbler", needs_actions=True))


async def test_a_bug_of_a_model_makes_its_link_failing_until_it_answers() -> None:
    lines: list[Line | None] = [None, Line("Again.")]

    def say(_: Prompt) -> Line:
        line = lines.pop(0)
        if line is None:
            raise RuntimeError("llama_decode answered 1")
        return line

    linker, _ = make(say)
    link = await linker.link(CONFIG)
    with pytest.raises(RuntimeError):
        await answer(linker, order(link.name, prompt()))
    assert linker.failing(link) == [True]
    assert isinstance(await answer(linker, order(link.name, prompt())), Answer)
    assert linker.failing(link) == [False]


async def test_models_of_all_providers_are_listed_by_name() -> None:
    linker, _ = make(in_order(), models=("b", "a"))  # type: ignore[arg-type]  # passed on
    assert [model.name for model in await linker.models()] == ["local/a", "local/b"]


async def test_who_cannot_be_served_is_refused_before_gas_is_held_for_him() -> None:
    linker, gas = make(by_turn(Line("One two.")))
    link = (await linker.link(CONFIG)).name
    async with AsyncExitStack() as stack:
        for number in range(LOCAL.in_flight_max):
            events = linker.generate(order(link, prompt(), f"r{number}"))
            await anext(await stack.enter_async_context(aclosing(events)))
        waiting = [
            asyncio.ensure_future(answer(linker, order(link, prompt(), f"w{number}")))
            for number in range(WAITING_MAX)
        ]
        while linker._turns._lines["local", ""].waiting_count < WAITING_MAX:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await collect(linker.generate(order(link, prompt(), "one too many")))
        assert len(gas.reservations) == LOCAL.in_flight_max
    assert {done.text for done in await asyncio.gather(*waiting)} == {"One two."}
    assert gas.open_holds == set()
