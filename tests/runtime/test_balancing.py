"""Several linkers answer as one: each agent has its place, and none of them has to be there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import pytest

from chassis.errors import PeerUnavailable
from runtime.balancing import BalancedModel
from runtime.conversation import ActionChoice
from runtime.ports import Generation, Prompt
from runtime.program import ModelChoice
from tests.runtime.worlds import RUN

NAMES = ("a:1", "b:1", "c:1")


class Linker:
    """Says its name, after as much of it as it says before it goes away."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.goes_after: int | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        self.asked += 1
        if self.goes_after is not None:
            for letter in self.name[: self.goes_after]:
                yield letter
            raise PeerUnavailable("linker")
        yield self.name
        await self.may_end.wait()
        yield Generation(prompt.run, (), (), 0)


def prompt(agent: str, run: str = RUN) -> Prompt:
    return Prompt(
        request_id="r",
        run=run,
        account=f"agents/{agent}",
        callers=(),
        model=ModelChoice("local/m", "", 0.0, 1.0, 1, 10, 0, ""),
        agent_acts=False,
        messages=(),
        actions=(),
        choice=ActionChoice.NONE,
    )


async def said(model: BalancedModel, asked: Prompt) -> str:
    parts = [part async for part in model.generate(asked)]
    return "".join(part for part in parts if isinstance(part, str))


@pytest.fixture
def linkers() -> dict[str, Linker]:
    return {name: Linker(name) for name in NAMES}


async def places(model: BalancedModel, agents: int = 60) -> list[str]:
    return [await said(model, prompt(str(number))) for number in range(agents)]


async def test_an_agent_has_its_place_and_all_places_have_agents(
    linkers: dict[str, Linker],
) -> None:
    first = await places(BalancedModel(linkers))
    assert await places(BalancedModel(dict(reversed(linkers.items())))) == first
    assert all(first.count(name) > len(first) // 6 for name in NAMES)


async def test_if_one_linker_goes_only_its_agents_move(linkers: dict[str, Linker]) -> None:
    before = await places(BalancedModel(linkers))
    gone = linkers.pop("b:1")
    after = await places(BalancedModel(linkers))
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {gone.name}


async def test_who_does_not_answer_is_asked_no_more_for_this(linkers: dict[str, Linker]) -> None:
    model = BalancedModel(linkers)
    home = linkers[await said(model, prompt("x"))]
    home.goes_after = 0
    assert await said(model, prompt("x")) in set(NAMES) - {home.name}
    for linker in linkers.values():
        linker.goes_after = 0
    with pytest.raises(PeerUnavailable):
        await said(model, prompt("x"))


async def test_who_has_spoken_is_not_repeated_by_another(linkers: dict[str, Linker]) -> None:
    model = BalancedModel(linkers)
    home = linkers[await said(model, prompt("x"))]
    home.goes_after = 1
    heard = []
    with pytest.raises(PeerUnavailable):
        async for part in model.generate(prompt("x")):
            heard.append(part)  # noqa: PERF401  # it raises
    assert heard == [home.name[0]]
    assert sum(linker.asked for linker in linkers.values()) == 2


async def test_runs_of_a_busy_agent_go_elsewhere_each_to_its_own_place(
    linkers: dict[str, Linker],
) -> None:
    model = BalancedModel(linkers)
    for linker in linkers.values():
        linker.may_end.clear()
    runs = [f"runs/{number}" for number in range(12)]
    async with AsyncExitStack() as stack:
        first = []
        for run in runs:
            parts = await stack.enter_async_context(aclosing(model.generate(prompt("x", run))))
            first.append(await anext(parts))
        counts = sorted(first.count(name) for name in NAMES)
        # A quarter more than a third of them, rounded up.
        assert counts[-1] <= 5
        assert counts[0] >= 2
    # All have left, so there is room at home.
    assert len({await said_first(model, run) for run in runs}) == 1


async def said_first(model: BalancedModel, run: str) -> object:
    async with aclosing(model.generate(prompt("x", run))) as parts:
        return await anext(parts)
