"""When a model does not answer, the next one is asked, and paid instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from linker.conversation import Delta, Finished, Prompt, Tokens
from linker.errors import ContextExceeded, CredentialRefused, ProviderUnavailable, RateLimited
from linker.linker import Linker
from linker.links import ModelConfig, Target
from linker.ports import Key
from linker.providers.scripted import Line, ScriptedModel, ScriptedProvider, by_turn, in_order
from linker.routing.backoff import Backoff
from linker.settings import RateBudget
from tests.fakes.gas_meter import FakeGasMeter
from tests.fakes.keys import FakeKeys
from tests.linker.orders import ACCOUNT, StoppedClock, answer, collect, make_linker, order, prompt
from tests.linker.virtual import run

AWAY = ProviderUnavailable("local/actor", "529")
HELLO = by_turn(Line("Hello there."))
FALLBACK = (Target("spare/actor"),)
CONFIG = ModelConfig("local/actor", fallbacks=FALLBACK)


class Breaking(ScriptedProvider):
    """A provider whose first generation breaks off after so many words."""

    def __init__(self, words: int) -> None:
        super().__init__(HELLO)
        self.words: int | None = words

    async def open(self, model: str, key: Key | None = None) -> ScriptedModel:
        return BreakingModel(f"local/{model}", self)


class BreakingModel(ScriptedModel):
    def __init__(self, name: str, provider: Breaking) -> None:
        super().__init__(name, provider, None)
        self._breaking = provider

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        words, self._breaking.words = self._breaking.words, None
        async with aclosing(super().generate(prompt)) as events:
            async for event in events:
                yield event
                if words is not None and event.tokens.output == words:
                    raise ProviderUnavailable(self.name, "it broke off")


def always(line: Line | ProviderUnavailable) -> Callable[[Prompt], Line | ProviderUnavailable]:
    return lambda _: line


async def test_the_model_that_answered_is_named_and_paid() -> None:
    gas = FakeGasMeter()
    linker = make_linker(ScriptedProvider(always(AWAY)), gas, spare=ScriptedProvider(HELLO))
    link = await linker.link(CONFIG)
    done = await answer(linker, order(link.name, prompt()))
    first, second = gas.reservations
    assert (done.model, done.text) == ("spare/actor", "Hello there.")
    assert (first.item, second.item) == ("model local/actor", "model spare/actor")
    assert gas.released == [f"holds/{first.request_id}"]
    assert gas.settled == {f"holds/{second.request_id}": done.tokens}
    assert linker.failing(link) == [True, False]


async def test_the_same_request_again_takes_the_same_holds_or_new_ones_but_never_two() -> None:
    gas = FakeGasMeter()
    main = ScriptedProvider(in_order(AWAY, Line("Back.")))
    linker = make_linker(main, gas, spare=ScriptedProvider(always(AWAY)))
    link = await linker.link(CONFIG)
    with pytest.raises(ProviderUnavailable):
        await answer(linker, order(link.name, prompt()))
    assert len(gas.open_holds) == 1
    assert (await answer(linker, order(link.name, prompt()))).text == "Back."
    # That of the spare model was left for a repetition, which went another way; the run closes it.
    assert len(gas.open_holds) == 1
    assert len(gas.settled) == 1


async def test_a_model_that_broke_off_is_not_followed_by_another() -> None:
    gas = FakeGasMeter()
    main, spare = Breaking(words=1), ScriptedProvider(HELLO)
    linker = make_linker(main, gas, spare=spare)
    link = await linker.link(CONFIG)
    with pytest.raises(ProviderUnavailable, match="broke off"):
        await answer(linker, order(link.name, prompt()))
    (held,) = gas.reservations
    assert (held.item, spare.prompts) == ("model local/actor", [])
    assert gas.settled["holds/r1"].output == 1


async def test_a_fallback_with_a_smaller_context_does_not_hide_why_it_was_asked() -> None:
    linker = make_linker(
        ScriptedProvider(always(AWAY)),
        FakeGasMeter(),
        spare=ScriptedProvider(HELLO, context_tokens=50),
    )
    link = await linker.link(CONFIG)
    with pytest.raises(ProviderUnavailable, match="529"):
        await answer(linker, order(link.name, prompt(tokens_max=50)))


async def test_a_larger_context_behind_a_smaller_one_is_used() -> None:
    linker = make_linker(
        ScriptedProvider(HELLO, context_tokens=50), FakeGasMeter(), spare=ScriptedProvider(HELLO)
    )
    link = await linker.link(CONFIG)
    assert (await answer(linker, order(link.name, prompt(tokens_max=50)))).model == "spare/actor"
    alone = await linker.link(ModelConfig("local/actor"))
    with pytest.raises(ContextExceeded):
        await answer(linker, order(alone.name, prompt(tokens_max=50)))


class Keyed:
    """A linker whose provider wants the key that is valid now."""

    def __init__(self) -> None:
        self.keys = FakeKeys(StoppedClock(), main="sk-1")
        self.provider = ScriptedProvider(HELLO)
        self.linker: Linker = make_linker(self.provider, FakeGasMeter(), keys=self.keys)


async def test_a_key_that_was_rotated_is_fetched_when_the_old_one_is_refused() -> None:
    bench = Keyed()
    link = await bench.linker.link(ModelConfig("local/actor", "secrets/main"), ACCOUNT)
    bench.provider.refused_keys.add("sk-1")
    bench.keys.rotate("main", "sk-2")
    assert (await answer(bench.linker, order(link.name, prompt()))).text == "Hello there."
    assert bench.provider.keys[-1] == "sk-2"


async def test_a_key_that_stays_refused_is_not_tried_again_and_again() -> None:
    bench = Keyed()
    link = await bench.linker.link(ModelConfig("local/actor", "secrets/main"), ACCOUNT)
    bench.provider.refused_keys.add("sk-1")
    shown = len(bench.provider.keys)
    with pytest.raises(CredentialRefused, match="the provider does not know it"):
        await answer(bench.linker, order(link.name, prompt()))
    assert len(bench.provider.keys) == shown + 1, "the same key was shown again"
    assert bench.linker.failing(link) == [True]


def test_a_try_that_used_something_is_charged_and_the_next_one_held_anew() -> None:
    async def main() -> None:
        gas = FakeGasMeter()
        provider = Breaking(words=0)
        linker = make_linker(provider, gas, backoff=Backoff())
        link = await linker.link(ModelConfig("local/actor"))
        done = await answer(linker, order(link.name, prompt()))
        first, second = gas.reservations
        assert first.request_id == "r1" != second.request_id
        assert list(gas.settled.values()) == [Tokens(input=done.tokens.input), done.tokens]
        assert done.gas == 2 * done.tokens.input + done.tokens.output

    run(main())


def test_who_has_no_time_left_for_the_rate_of_a_key_is_told_so() -> None:
    async def main() -> None:
        linker = make_linker(
            ScriptedProvider(HELLO),
            FakeGasMeter(),
            budgets={"local": RateBudget(requests_per_minute=1)},
        )
        link = await linker.link(ModelConfig("local/actor"))
        await collect(linker.generate(order(link.name, prompt()), seconds_max=20))
        with pytest.raises(RateLimited, match="the rate budget of its key is used up"):
            await collect(linker.generate(order(link.name, prompt(), "r2"), seconds_max=20))
        # And who has, waits.
        await collect(linker.generate(order(link.name, prompt(), "r3"), seconds_max=90))

    run(main())
