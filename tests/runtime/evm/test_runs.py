"""Runs that pay from one account while everything around them breaks, and what is paid once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from pydantic import JsonValue

from runtime import patience
from runtime.conductor import Conductor
from runtime.connectors.evm import evm_actions
from runtime.facts import ActionFinished, EffectDrafted, EffectSent
from tests.fakes.evm import ETHER, Chain
from tests.fakes.evm_node import FakeNode
from tests.fakes.front import Fault, Front, Says
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner, answer, calls
from tests.runtime.crashes import Fuse, crash
from tests.runtime.evm.chains import ME, PAYEE, SEND, SEND_TOKEN, SETTINGS, USDC, WRITE, chain
from tests.runtime.worlds import RUN, World, with_actions

SEEDS = 12


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    monkeypatch.setattr(patience, "RETRY_SECONDS_MAX", 0.02)
    with structlog.testing.capture_logs():
        yield


def _action(name: str, **changes: object) -> dict[str, Any]:
    """Return an action of a bundle."""
    actions = evm_actions(Internet().egress(), FakeSigner())
    [one] = [one.descriptor for one in actions if one.descriptor.name == name]
    return {
        "name": name,
        "program": f"catalogue:{name}",
        "description": one.description,
        "parameters_schema": dict(one.parameters_schema),
        "effect": one.effect,
        "credential": "secrets/wallet",
        "settings": SETTINGS,
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
        **changes,
    }


@asynccontextmanager
async def _mining(made: Chain) -> AsyncIterator[None]:
    """Make a block every few milliseconds."""

    async def mine() -> None:
        while True:
            await asyncio.sleep(0.003)
            made.mine()

    task = asyncio.create_task(mine())
    try:
        yield
    finally:
        task.cancel()


async def _created(
    folder: Path, front: Front, action: dict[str, Any], *arguments: JsonValue
) -> World:
    """Return a world with a run that makes calls at once."""
    world = World(folder)
    world.internet.put("node.test", front)
    answers = iter([calls(*((action["name"], json.dumps(one)) for one in arguments))])
    world.model.answers = lambda _: next(answers, answer("Done."))
    await world.create(with_actions(action))
    return world


async def _results(world: World) -> list[ActionFinished]:
    return [one for one in await world.events() if isinstance(one, ActionFinished)]


CALLS: list[tuple[str, dict[str, JsonValue]]] = [
    ("evm.send", SEND),
    ("evm.send_token", SEND_TOKEN),
    ("evm.write", WRITE),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_it_is_paid_once_and_said_to_be(
    tmp_path: Path, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    dice, made = random.Random(seed), chain(is_instant=False)
    front = Front(inner=FakeNode(chain=made))
    failures: list[Fault] = ["lost", "failed", Says(503), Says(429), "", ""]
    fine: list[Fault] = [""] * dice.randrange(8)
    front.fail_next(*fine, *dice.choices(failures, k=dice.randrange(6)))
    async with front.listening(), _mining(made):
        world = await _created(tmp_path, front, _action(name), arguments)
        for _ in range(dice.randrange(3)):
            await crash(world, Fuse(dice.randrange(20, 120)))
        await world.play()
    [result] = await _results(world)
    [sent] = made.mined()
    assert result.reason == ""
    assert json.loads(result.result)["transaction"] == sent.hash
    assert len(world.signer.requests) >= 1


async def test_a_crash_at_any_moment_changes_nothing_of_what_is_paid(tmp_path: Path) -> None:
    moment, has_burnt = 30, True
    while has_burnt:
        made = chain(is_instant=False)
        front = Front(inner=FakeNode(chain=made))
        async with front.listening(), _mining(made):
            world = await _created(tmp_path / str(moment), front, _action("evm.send"), SEND)
            fuse = Fuse(moment)
            await crash(world, fuse)
            await world.play()
        assert [one.value for one in made.mined()] == [1000], moment
        assert len({one.hash for one in made.seen}) == 1, "what was signed is what is sent again"
        moment, has_burnt = moment + 1, fuse.has_burnt


@pytest.mark.parametrize("seed", range(4))
async def test_calls_of_one_account_are_all_paid_once_while_blocks_are_replaced(
    tmp_path: Path, seed: int
) -> None:
    dice, made = random.Random(seed), chain(is_instant=False)
    front = Front(inner=FakeNode(chain=made))
    action = _action("evm.send", settings={**SETTINGS, "confirmations": 3})
    amounts = [10**index for index in range(6)]

    async def disturb() -> None:
        for _ in range(12):
            await asyncio.sleep(0.02)
            if made.head > 6:
                made.reorganise(1, drops=dice.random() < 0.5)
            if dice.random() < 0.3:
                made.drop()

    async with front.listening(), _mining(made):
        orders: list[JsonValue] = [{**SEND, "value": str(amount)} for amount in amounts]
        world = await _created(tmp_path, front, action, *orders)
        disturbing = asyncio.create_task(disturb())
        await crash(world, Fuse(dice.randrange(60, 160)))
        await world.play()
        await disturbing
        made.mine(3)
    assert [one.reason for one in await _results(world)] == [""] * len(amounts)
    assert sorted(one.value for one in made.mined()) == amounts
    assert made.state.balances[PAYEE] == sum(amounts)


async def test_intent_draft_and_signature_are_journaled_in_this_order(tmp_path: Path) -> None:
    made = chain(is_instant=False)
    front = Front(inner=FakeNode(chain=made))
    async with front.listening(), _mining(made):
        world = await _created(tmp_path, front, _action("evm.send"), SEND)
        await world.play()
    events = await world.events()
    kept = [one for one in events if isinstance(one, EffectSent | EffectDrafted)]
    assert [type(one).__name__ for one in kept] == ["EffectSent", "EffectDrafted", "EffectDrafted"]
    unsigned, signed = (json.loads(one.draft) for one in kept if isinstance(one, EffectDrafted))
    assert (unsigned["raw"], unsigned["unsigned"]) == ("", signed["unsigned"])
    assert signed["raw"] == f"0x{made.mined()[0].raw.hex()}"


async def test_only_known_payees_are_paid_and_only_so_much(tmp_path: Path) -> None:
    made = chain()
    front = Front(inner=FakeNode(chain=made))
    rules: list[dict[str, JsonValue]] = [
        {"kind": "choice", "name": "payees", "field": "to", "only": [PAYEE], "otherwise": "deny"},
        {"kind": "bound", "name": "value", "field": "value", "deny_above": "5000"},
        {"kind": "window", "name": "daily", "most": "1500", "per": "day", "sum_of": "value"},
    ]
    asked: list[JsonValue] = [{**SEND, "to": ME}, {**SEND, "value": "5001"}, SEND, SEND]
    async with front.listening():
        world = await _created(tmp_path, front, _action("evm.send", policy=rules), *asked)
        await world.play()
    assert made.state.balances[PAYEE] == 1000
    assert sorted(one.reason for one in await _results(world)) == ["", "DENIED", "DENIED", "DENIED"]


async def test_a_run_that_ends_before_it_is_certain_says_that_nobody_knows(tmp_path: Path) -> None:
    made = chain(is_instant=False)
    front = Front(inner=FakeNode(chain=made))
    async with front.listening():
        world = await _created(tmp_path, front, _action("evm.send"), SEND)
        conductor = Conductor(world.stage())
        await conductor.start()
        await world.until_kind("EffectUnknown")
        world.clock.advance(61)
        conductor.nudge(RUN)
        await world.until_ended()
        await conductor.stop()
    [result] = await _results(world)
    assert result.reason == "UNKNOWN"
    made.mine()
    assert made.state.balances[PAYEE] == 1000


async def test_a_token_that_is_not_there_is_told_to_the_model(tmp_path: Path) -> None:
    made = chain()
    made.state.storage[USDC] = {}
    front = Front(inner=FakeNode(chain=made))
    async with front.listening():
        world = await _created(tmp_path, front, _action("evm.send_token"), SEND_TOKEN)
        await world.play()
    [result] = await _results(world)
    assert "exceeds balance" in json.loads(result.result)["message"]
    assert (made.seen, made.state.balances[ME]) == ([], ETHER)
