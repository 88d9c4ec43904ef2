"""Runs that pay: what policy lets through, what a person approves, and what is paid once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from pydantic import JsonValue

from runtime import patience
from runtime.conductor import Conductor
from runtime.connectors.cdp import cdp_actions
from runtime.facts import UNKNOWN, ActionFinished, ApprovalAwaited
from tests.fakes.cdp import ME, NATIVE, OTHER, USDC, FakeCdp
from tests.fakes.front import Fault, Front, Says
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner, answer, calls
from tests.runtime.cdp.actions import ORDER, SEND, SWAP
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import RUN, World, with_actions

SEEDS = 12
STRANGER = f"0x{'b' * 40}"
RULES: list[dict[str, JsonValue]] = [
    {"kind": "choice", "name": "payees", "field": "to", "only": [OTHER], "otherwise": "deny"},
    {"kind": "bound", "name": "value", "field": "value", "deny_above": "5000"},
    {"kind": "window", "name": "daily", "most": "1500", "per": "day", "sum_of": "value"},
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    with structlog.testing.capture_logs():
        yield


def _action(name: str, **changes: object) -> dict[str, Any]:
    """Return an action of a bundle."""
    actions = cdp_actions(Internet().egress(), FakeSigner())
    [one] = [one.descriptor for one in actions if one.descriptor.name == name]
    return {
        "name": name,
        "program": f"catalogue:{name}",
        "description": one.description,
        "parameters_schema": dict(one.parameters_schema),
        "effect": one.effect,
        "credential": ORDER.credential,
        "settings": dict(ORDER.settings),
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
        **changes,
    }


async def _created(
    folder: Path, front: Front, action: dict[str, Any], *arguments: JsonValue
) -> World:
    """Return a world with a run that makes calls, one after the other."""
    world = World(folder)
    world.internet.put("cdp.test", front)
    made = [calls((action["name"], json.dumps(one))) for one in arguments]
    world.model.answers = lambda prompt: (
        made[len(prompt.messages) // 2 - 1] if len(prompt.messages) // 2 <= len(made) else done
    )
    done = answer("Done.")
    await world.create(with_actions(action))
    return world


async def _reasons(world: World) -> list[str]:
    return [one.reason for one in await world.events() if isinstance(one, ActionFinished)]


async def test_only_known_payees_are_paid_and_only_so_much(tmp_path: Path) -> None:
    cdp = FakeCdp()
    front = Front(inner=cdp)
    action = _action("cdp.send", policy=RULES)
    asked: list[JsonValue] = [
        {**SEND, "to": STRANGER},
        {**SEND, "value": "5001"},
        {**SEND, "to": OTHER.upper().replace("0X", "0x")},
        SEND,
    ]
    async with front.listening():
        world = await _created(tmp_path, front, action, *asked)
        await world.play()
    assert [one.to for one in cdp.transactions] == [OTHER]
    assert cdp.held("base", OTHER) == 1000
    assert (await _reasons(world)).count("") == 1


async def test_a_person_sees_what_is_paid_before_any_key_is_used(tmp_path: Path) -> None:
    cdp = FakeCdp()
    front = Front(inner=cdp)
    async with front.listening():
        world = await _created(tmp_path, front, _action("cdp.send", approval="ask"), SEND)
        conductor = Conductor(world.stage())
        await conductor.start()
        try:
            await world.until(RUN, lambda run: run.approval)
            events = await world.events()
            [awaited] = [event for event in events if isinstance(event, ApprovalAwaited)]
            assert json.loads(awaited.call.arguments) == SEND
            assert (cdp.asked, world.signer.authorized) == ([], [])
        finally:
            await conductor.stop()


CALLS: list[tuple[str, dict[str, JsonValue]]] = [
    ("cdp.send", SEND),
    ("cdp.send_token", {**SEND, "token": USDC}),
    ("cdp.swap", {**SWAP, "from_token": NATIVE, "min_to_amount": "1980"}),
    ("cdp.create_account", {"name": "trader-1"}),
    ("cdp.faucet", {"network": "base-sepolia", "address": ME, "token": "eth"}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_nothing_is_paid_twice_and_nothing_is_invented(
    tmp_path: Path, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    dice, cdp = random.Random(seed), FakeCdp()
    front = Front(inner=cdp)
    failures: list[Fault] = ["lost", "failed", Says(503), Says(429), ""]
    front.fail_next(*dice.choices(failures, k=dice.randrange(6)))
    async with front.listening():
        world = await _created(tmp_path, front, _action(name), arguments)
        for _ in range(dice.randrange(3)):
            await crash(world, Fuse(dice.randrange(1, 90)))
        await world.play()
    done = len(cdp.transactions) + len(cdp.faucets) + len(cdp.accounts) - 1
    [reason] = await _reasons(world)
    if name in {"cdp.swap", "cdp.faucet"}:
        assert reason in {"", UNKNOWN}
        assert done <= 1
        assert done == 1 or reason
    else:
        assert (reason, done) == ("", 1)
