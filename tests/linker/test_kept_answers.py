"""The same request of the same agent gets the same answer, at a price of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from chassis.database import open_memory_database
from linker.answers import Kept, answer_key, prompt_digest
from linker.conversation import (
    Action,
    Call,
    Choice,
    Conversation,
    FinishReason,
    Image,
    Logprobs,
    Message,
    Prompt,
    Role,
    Sampling,
    TokenLogprob,
    Tokens,
    WrittenCall,
)
from linker.errors import BudgetExceeded
from linker.linker import Linker
from linker.links import Link, ModelConfig, ModelFacts
from linker.orders import Answer, Order
from linker.providers.scripted import Line, ScriptedProvider
from linker.store import TABLES, KeptAnswers, open_link_database
from tests.fakes.gas_meter import FakeGasMeter
from tests.keymanager.vaults import HandSetClock
from tests.linker.orders import ACCOUNT, NOW, action, answer, collect, make_linker, order, prompt

CONFIG = ModelConfig("local/actor", cache_seconds=60)
SEEDED = prompt(temperature=0.7, seed=4)


class Bench:
    """A linker whose model says another thing each time."""

    def __init__(self, config: ModelConfig = CONFIG) -> None:
        self.gas = FakeGasMeter()
        self.clock = HandSetClock(NOW)
        self.provider = ScriptedProvider(lambda _: Line(f"Number {len(self.provider.prompts)}."))
        self.linker: Linker = make_linker(self.provider, self.gas, clock=self.clock)
        self.config = config

    async def ask(self, request_id: str, asked: Prompt = SEEDED, account: str = ACCOUNT) -> Answer:
        link = await self.linker.link(self.config)
        made = order(link.name, asked, request_id)
        return await answer(self.linker, replace(made, payer=replace(made.payer, account=account)))


async def test_the_same_request_is_answered_once() -> None:
    bench = Bench()
    first, second = await bench.ask("r1"), await bench.ask("r2")
    assert (first.text, first.is_cached) == ("Number 1.", False)
    assert (second.text, second.is_cached, second.model) == ("Number 1.", True, "local/actor")
    assert len(bench.provider.prompts) == 1


async def test_a_kept_answer_is_said_and_paid_as_an_item_of_its_own() -> None:
    bench = Bench()
    first = await bench.ask("r1")
    link = await bench.linker.link(CONFIG)
    delta, second = await collect(bench.linker.generate(order(link.name, SEEDED, "r2")))
    held = bench.gas.reservations[-1]
    assert isinstance(second, Answer)
    assert delta.text == first.text
    assert (held.request_id, held.item) == ("r2", "cache local/actor")
    assert bench.gas.settled["holds/r2"] == held.worst == second.tokens
    assert bench.gas.open_holds == set()


async def test_who_cannot_pay_is_not_told() -> None:
    bench = Bench()
    await bench.ask("r1")
    await bench.linker.link(CONFIG)
    bench.gas.fail_next(BudgetExceeded(ACCOUNT, "0 left"))
    with pytest.raises(BudgetExceeded):
        await bench.ask("r2")


async def test_a_repetition_of_the_request_costs_nothing_more() -> None:
    bench = Bench()
    assert await bench.ask("r1") == await bench.ask("r1")
    assert len(bench.gas.reservations) == 1


async def test_calls_of_a_kept_answer_have_names_of_their_own() -> None:
    bench = Bench()
    bench.provider.script = lambda _: Line(
        calls=(WrittenCall("board.post", '{"stars": 5, "text": "Up."}'),)
    )
    asked = prompt(action(), choice=Choice.AUTO, seed=4)
    first, second = await bench.ask("r1", asked), await bench.ask("r2", asked)
    assert first.calls[0].id != second.calls[0].id
    assert first.calls[0].arguments == second.calls[0].arguments
    assert second.is_cached


async def test_an_answer_is_given_again_for_so_long_as_was_said() -> None:
    bench = Bench()
    await bench.ask("r1")
    bench.clock.advance(timedelta(seconds=59))
    assert (await bench.ask("r2")).is_cached
    bench.clock.advance(timedelta(seconds=1))
    assert not (await bench.ask("r3")).is_cached


async def test_one_agent_is_never_told_what_another_one_was() -> None:
    bench = Bench()
    await bench.ask("r1")
    assert not (await bench.ask("r2", account="agents/other")).is_cached


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (ModelConfig("local/actor"), SEEDED),
        (CONFIG, prompt(temperature=0.7, seed=0)),
        (CONFIG, prompt(tokens_max=1, seed=4)),
    ],
    ids=["not asked for", "with dice", "cut off"],
)
async def test_what_is_not_to_be_kept_is_not(config: ModelConfig, asked: Prompt) -> None:
    bench = Bench(config)
    await bench.ask("r1", asked)
    assert not (await bench.ask("r2", asked)).is_cached


FULL = Prompt(
    Conversation(
        (
            Message(Role.USER, "a", images=(Image("image/png", b"1"),)),
            Message(Role.ASSISTANT, "b", calls=(Call("c", "x", "{}"),)),
            Message(Role.ACTION, "1", call_id="c"),
        ),
        (Action("x", "Does.", '{"type": "object"}'),),
    ),
    Choice.AUTO,
    Sampling(9, seed=2**62),
)


def first(prompt: Prompt, **more: object) -> Prompt:
    message, *rest = prompt.conversation.messages
    messages = (replace(message, **more), *rest)  # type: ignore[arg-type]  # fields by name
    return replace(prompt, conversation=replace(prompt.conversation, messages=messages))


CHANGES: list[Callable[[Prompt], Prompt]] = [
    lambda p: first(p, text="A"),
    lambda p: first(p, role=Role.SYSTEM),
    lambda p: first(p, images=()),
    lambda p: first(p, images=(Image("image/png", b"2"),)),
    lambda p: replace(p, conversation=replace(p.conversation, actions=())),
    lambda p: replace(p, choice=Choice.NONE),
    lambda p: replace(p, calls_max=2),
    lambda p: replace(p, action="x"),
    lambda p: replace(p, answer_schema="{}"),
    *(
        lambda p, name=name: replace(p, sampling=replace(p.sampling, **{name: 3}))
        for name in vars(Sampling(1))
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_matters_makes_another_request(change: Callable[[Prompt], Prompt]) -> None:
    assert prompt_digest(change(FULL)) != prompt_digest(FULL)


def test_other_weights_make_another_answer() -> None:
    def key(weights: str, config: ModelConfig = CONFIG) -> str:
        facts = ModelFacts(9, takes_actions=True, constrains_output=True, weights_sha256=weights)
        asked: Order = order("links/x", FULL)
        return answer_key(Link(config, (facts,), NOW), asked)

    assert key("a") == key("a") != key("b")
    assert key("a") != key("a", replace(CONFIG, needs_actions=True))


ANSWER = Answer(
    reason=FinishReason.STOP,
    text="x" * 100,
    calls=(Call("c", "x", "{}"),),
    tokens=Tokens(1, 2, 3, 4, 5, 6, 7),
    gas=9,
    model="local/actor",
    reasoning="hm",
    logprobs=(Logprobs(TokenLogprob("a", -0.25), (TokenLogprob("b", -1e300),)),),
)


def test_an_answer_survives_a_restart(tmp_path: Path) -> None:
    path, kept = tmp_path / "linker.db", Kept(ANSWER, "r1")
    until = NOW + timedelta(seconds=1)
    KeptAnswers(open_link_database(path)).keep("k", kept, now=NOW, until=until)
    assert KeptAnswers(open_link_database(path)).find("k", NOW) == kept


def test_a_full_store_forgets_what_was_not_used_for_longest() -> None:
    store = KeptAnswers(open_memory_database(TABLES), bytes_max=1_600)
    until = NOW + timedelta(days=1)
    for number in range(4):
        now = NOW + timedelta(seconds=number)
        store.keep(f"k{number}", Kept(ANSWER, "r"), now=now, until=until)
        store.find("k0", now)
    found = [number for number in range(4) if store.find(f"k{number}", NOW) is not None]
    assert found[0] == 0
    assert 3 in found
    assert len(found) < 4


def test_an_answer_that_is_larger_than_the_store_is_not_kept() -> None:
    store = KeptAnswers(open_memory_database(TABLES), bytes_max=10)
    store.keep("k", Kept(ANSWER, "r"), now=NOW, until=NOW + timedelta(days=1))
    assert store.find("k", NOW) is None
