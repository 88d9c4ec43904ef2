"""Casts in runs: there once, with the time of the first try that arrived, whatever dies."""

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
from runtime.facts import ActionFinished, EffectSent
from tests.fakes.farcaster import ME
from tests.fakes.front import Fault, Front, Says
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.crashes import Fuse, crash
from tests.runtime.farcaster.actions import HUB, OLD, ORDER, Actions, hub
from tests.runtime.worlds import World, with_actions

SEEDS = 15
WRITES: list[tuple[str, dict[str, JsonValue]]] = [
    ("farcaster.cast", {"text": "Ether gained."}),
    ("farcaster.delete", {"hash": OLD}),
    ("farcaster.like", {"fid": ME, "hash": OLD}),
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    with structlog.testing.capture_logs():
        yield


def _action(name: str) -> dict[str, Any]:
    descriptor = Actions(hub(), HUB).by_name[name].descriptor
    return {
        "name": name,
        "program": f"catalogue:{name}",
        "description": descriptor.description,
        "parameters_schema": dict(descriptor.parameters_schema),
        "effect": descriptor.effect,
        "credential": ORDER.credential,
        "settings": HUB,
        "limits": {"per_run": 1},
        "approval": "allow",
        "required": False,
    }


@pytest.mark.parametrize(("name", "arguments"), WRITES)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_a_message_is_there_once(
    tmp_path: Path, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    dice, service = random.Random(seed), hub(speaks=["hubble", "snapchain"][seed % 2])
    front = Front(inner=service)
    failures: list[Fault] = ["lost", "failed", Says(503), Says(429), ""]
    front.fail_next(*dice.choices(failures, k=dice.randrange(6)))
    world = World(tmp_path)
    world.internet.put("service.test", front)
    world.model.answers = lambda prompt: (
        calls((name, json.dumps(arguments))) if len(prompt.messages) == 2 else answer("Done.")
    )
    await world.create(with_actions(_action(name)))
    async with front.listening():
        for _ in range(dice.randrange(3)):
            await crash(world, Fuse(dice.randrange(1, 90)))
            world.clock.advance(3)
        await world.play()
    events = await world.events()
    [result] = [one for one in events if isinstance(one, ActionFinished)]
    assert not result.reason
    [message] = service.messages.values()
    [*_, time] = [one.time for one in events if isinstance(one, EffectSent)]
    assert time is not None
    assert message.time == int(time.timestamp()) - 1609459200
    if name == "farcaster.cast":
        told = {"posted": True, "fid": ME, "hash": f"0x{message.hash.hex()}"}
        assert json.loads(result.result) == told
