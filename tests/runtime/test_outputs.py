"""What calls give is what the catalogue says that they give."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from assembler.agents import ANSWER_SCHEMA
from runtime.connectors.catalogue import catalogue
from runtime.facts import ActionFinished, SignalSent
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeKnowledge, FakeSigner, answer, calls
from tests.runtime.offices import delegates, open_office
from tests.runtime.worlds import POST, RUN, SEARCH, SLEEP, WAIT, World, with_actions

SCHEMAS = {
    connector.descriptor.name: connector.descriptor.output_schema
    for connector in catalogue(
        httpx.AsyncClient(), FakeKnowledge(), FakeSigner(), Internet().egress()
    ).values()
}


async def result_of(world: World, action: str) -> object:
    """Play a run to its end; return the result of its call of an action."""
    await world.play()
    (text,) = [
        event.result
        for event in await world.events()
        if isinstance(event, ActionFinished) and event.action == action and not event.reason
    ]
    result: object = json.loads(text)
    return result


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("run.sleep", {"seconds": 0}),
        ("run.wait", {"signal": "go", "seconds": 9}),
    ],
)
async def test_an_action_gives_what_the_catalogue_says(
    tmp_path: Path, action: str, arguments: object
) -> None:
    world = World(tmp_path)
    world.model.answers = lambda prompt: (
        calls((action, json.dumps(arguments))) if len(prompt.messages) == 2 else answer("Done.")
    )
    await world.create(with_actions(SEARCH, {**POST, "required": False}, SLEEP, WAIT))
    signal = SignalSent("go", '{"price": 3}')
    await world.journal.post(RUN, signal, request_id="1", now=world.clock.now())
    assert SCHEMAS[action]
    Draft202012Validator(SCHEMAS[action]).validate(await result_of(world, action))


async def test_an_agent_gives_what_the_assembler_says(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.model.answers = delegates
    await open_office(world)
    Draft202012Validator(ANSWER_SCHEMA).validate(await result_of(world, "clerk.ask"))
