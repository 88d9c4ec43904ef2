"""Where the time of a model has a price, what it took is held, measured and charged."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import count

import pytest

from actionvm.action.v1.action_pb2 import Usage
from chassis.errors import InvalidField
from linker.clients import usages_of
from linker.conversation import Tokens
from linker.linker import Linker
from linker.links import ModelConfig
from linker.orders import EmbedOrder, RerankOrder
from linker.paying import MILLISECONDS_MAX, Stopwatch
from linker.providers.scripted import Line, ScriptedProvider, in_order
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import answer, make_linker, order, payer, prompt

CONFIG = ModelConfig("local/actor")
TIMED = {"milliseconds": 1}


class Ticking:
    """A clock on which every look takes a quarter of a second."""

    def __init__(self) -> None:
        self._ticks = count()
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return next(self._ticks) / 4


def make(
    line: Line | InvalidField, *, prices: dict[str, int]
) -> tuple[Linker, FakeGasMeter, Ticking]:
    gas, clock = FakeGasMeter(prices), Ticking()
    return make_linker(ScriptedProvider(in_order(line)), gas, monotonic=clock), gas, clock


async def test_time_that_has_a_price_is_held_and_charged() -> None:
    linker, gas, clock = make(Line("All is well."), prices=TIMED)
    link = await linker.link(CONFIG)

    done = await answer(linker, order(link.name, prompt()))

    assert gas.reservations[0].worst.milliseconds == MILLISECONDS_MAX
    # From each even look to the odd one after it; what is between is the time of who reads.
    assert gas.settled["holds/r1"].milliseconds == 250 * (clock.looks // 2) > 500
    assert done.gas == done.tokens.read + done.tokens.output + 250 * (clock.looks // 2)


async def test_time_without_a_price_is_not_even_measured() -> None:
    linker, gas, clock = make(Line("All is well."), prices={})
    link = await linker.link(CONFIG)

    await answer(linker, order(link.name, prompt()))

    assert (gas.reservations[0].worst.milliseconds, clock.looks) == (0, 0)
    assert gas.settled["holds/r1"].milliseconds == 0


async def test_who_stops_early_pays_for_the_time_until_then() -> None:
    linker, gas, clock = make(Line("one two three four five"), prices=TIMED)
    link = await linker.link(CONFIG)

    async with aclosing(linker.generate(order(link.name, prompt()))) as events:
        await anext(events)
        await anext(events)

    assert gas.settled["holds/r1"].milliseconds == 250 * (clock.looks // 2)
    assert gas.settled["holds/r1"].output == 2


async def test_a_model_that_refuses_has_taken_no_time() -> None:
    linker, gas, _ = make(InvalidField("messages", "say nothing"), prices=TIMED)
    link = await linker.link(CONFIG)

    with pytest.raises(InvalidField):
        await answer(linker, order(link.name, prompt()))

    assert gas.settled == {}


async def test_the_time_of_embeddings_and_rankings_is_held_and_charged() -> None:
    gas = FakeGasMeter(TIMED)
    provider = ScriptedProvider(in_order(), dimensions=3)
    linker = make_linker(provider, gas, monotonic=Ticking())
    link = await linker.link(CONFIG)

    await linker.embed(EmbedOrder(link.name, payer("e"), ("one",)))
    await linker.rerank(RerankOrder(link.name, payer("r"), "two", ("one", "two")))

    assert [held.worst.milliseconds for held in gas.reservations] == [MILLISECONDS_MAX] * 2
    assert [used.milliseconds for used in gas.settled.values()] == [250, 250]


async def test_no_more_time_is_charged_than_is_held() -> None:
    watch = Stopwatch(iter([0.0, 1e9]).__next__)
    with watch.running():
        await asyncio.sleep(0)

    assert watch.stamped(Tokens(1)) == Tokens(1, milliseconds=MILLISECONDS_MAX)


async def test_a_part_of_a_millisecond_is_one() -> None:
    watch = Stopwatch(iter([1.0, 1.0001]).__next__)
    with watch.running():
        await asyncio.sleep(0)

    assert watch.stamped(Tokens(1)).milliseconds == 1


def test_time_is_a_meter_of_the_contract() -> None:
    meters = {usage.meter: usage.amount for usage in usages_of(Tokens(milliseconds=7))}

    assert meters[Usage.METER_INFERENCE_MILLISECONDS] == 7
