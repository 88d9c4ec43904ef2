"""Agents that ask each other, in a world of fakes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from runtime.bundles import SealedBundle
from runtime.facts import ActionFinished
from runtime.journal.port import Run
from runtime.ports import Generation, Prompt
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.worlds import ASK, POST, RUN, World

CLERK = "agents/clerk"
Change = Callable[[dict[str, Any]], object]


def agent(name: str, *actions: dict[str, Any], version: str = "1.0.0", **limits: int) -> Change:
    """Return what makes the usual agent another one."""

    def change(content: dict[str, Any]) -> None:
        content["agent"].update(name=name, version=version)
        content["limits"].update(limits)
        content.update(actions=list(actions), knowledge=[])

    return change


def asking(bundle: SealedBundle, name: str = "clerk", **change: object) -> dict[str, Any]:
    """Return the action that asks the agent of a bundle."""
    return {**ASK, "name": f"{name}.ask", "program": f"agent:{bundle.name}", **change}


async def open_office(world: World, *actions: dict[str, Any], dry_run: bool = False) -> Run:
    """Store the run of a boss who asks a clerk, who posts unless other actions are given."""
    clerk = world.seal(agent("clerk", *(actions or (POST,))))
    return await world.create(agent("boss", asking(clerk)), dry_run=dry_run)


def delegates(prompt: Prompt) -> Generation:
    """Have the boss ask once and pass the answer on; have the others act and answer."""
    told = [message.text for message in prompt.messages[2:] if not message.calls]
    if prompt.account == "agents/boss":
        return answer(f"I was told {told[-1]}") if told else ask("Post that ether gained.")
    if prompt.choice == "required":
        return calls(("board.post", '{"text": "Ether gained."}'))
    return answer("It is posted.")


def ask(request: str, name: str = "clerk") -> Generation:
    """Return a generation that asks an agent."""
    return calls((f"{name}.ask", json.dumps({"request": request})))


def answering(run: str = RUN, call: str = "step-1-1") -> str:
    """Return the run that answers a call."""
    return f"runs/{uuid.uuid5(uuid.UUID(run.removeprefix('runs/')), call)}"


async def results(world: World, run: str = RUN) -> list[ActionFinished]:
    """Return the results in a journal."""
    return [event for event in (await world.events(run)) if isinstance(event, ActionFinished)]


async def reason(world: World) -> str:
    """Return why the one call of a run failed."""
    [result] = await results(world)
    assert json.loads(result.result)["error"] == result.reason
    return result.reason
