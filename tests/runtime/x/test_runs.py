"""Actions on X in runs: what was sent once, what again, and what nobody knows."""

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
from runtime.connectors.x import x_actions
from runtime.facts import UNKNOWN, ActionFinished, State
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner, answer, calls
from tests.fakes.x import ME, FakeX
from tests.runtime.crashes import Fuse, crash
from tests.runtime.worlds import World, with_actions
from tests.runtime.x.actions import ORDER

SEEDS = 12
WRITES = [("x.post", {"text": "Ether gained."}), ("x.delete", {}), ("x.like", {})]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    with structlog.testing.capture_logs():
        yield


def _action(name: str) -> dict[str, Any]:
    """Return an action of a bundle."""
    actions = x_actions(Internet().egress(), FakeSigner())
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
    }


async def _created(folder: Path, x: FakeX, name: str, arguments: JsonValue) -> World:
    """Return a world with a run that calls an action once, and then says what it heard."""
    world = World(folder)
    world.internet.put("x.test", x)
    world.model.answers = lambda prompt: (
        calls((name, json.dumps(arguments))) if len(prompt.messages) == 2 else answer("Done.")
    )
    await world.create(with_actions(_action(name)))
    return world


async def _result(world: World) -> ActionFinished:
    [result] = [one for one in await world.events() if isinstance(one, ActionFinished)]
    return result


@pytest.mark.parametrize(("name", "arguments"), WRITES)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_fails_nothing_happens_twice_on_x_and_nothing_is_invented(
    tmp_path: Path, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    dice, x = random.Random(seed), FakeX()
    old = x.add_post("A post of mine")
    failures: list[int | str] = ["lost", "failed", 503, 429, ""]
    x.fail_next(*dice.choices(failures, k=dice.randrange(6)))
    async with x.listening():
        wanted = arguments or {"id": old}
        world = await _created(tmp_path, x, name, wanted)
        for _ in range(dice.randrange(3)):
            await crash(world, Fuse(dice.randrange(1, 90)))
        await world.play()
    result = await _result(world)
    posted = [post["id"] for post in x.posts.values() if post["text"] == "Ether gained."]
    if name == "x.post":
        assert len(posted) <= 1
        assert result.reason in {"", UNKNOWN}
        if not result.reason:
            assert json.loads(result.result) == {"posted": True, "id": posted[0]}
    else:
        assert not result.reason
        assert (old in x.posts, (ME, old) in x.likes) == (name == "x.like", name == "x.like")


async def test_a_duplicate_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    x = FakeX()
    x.add_post("Ether gained.")
    async with x.listening():
        world = await _created(tmp_path, x, "x.post", {"text": "Ether gained."})
        run = await world.play()
    assert (run.state, (await _result(world)).reason) == (State.SUCCEEDED, "DUPLICATE_CONTENT")
