"""The actions before a site of the test, alone and in a run."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Connector, Order, Result
from runtime.connectors.web import WebGet, WebSend
from runtime.connectors.webpages import WebFeed, WebPage
from runtime.facts import ActionFinished, State
from tests.fakes.internet import Internet, Site
from tests.fakes.runtime_ports import answer, calls
from tests.runtime.worlds import World, with_actions

HOST = "example.org"
ORDER = Order(
    key="runs/1/call/step-1-1",
    account="agents/brief",
    arguments={"url": f"http://{HOST}/a"},
    settings={"hosts": [HOST]},
    credential="",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)


class Web:
    """All actions before one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.internet = Internet()
        self.internet.put(HOST, site)
        egress = self.internet.egress()
        self._get, self._send = WebGet(egress), WebSend(egress)
        self._page, self._feed = WebPage(egress), WebFeed(egress)

    async def get(self, raw: bytes = b"", **arguments: JsonValue) -> Result:
        """Read what the site answers."""
        return await self._perform(self._get, raw, arguments)

    async def send(self, raw: bytes = b"", **arguments: JsonValue) -> Result:
        """Send something to the site, which answers."""
        return await self._perform(self._send, raw, arguments)

    async def page(self, raw: bytes, **arguments: JsonValue) -> Result:
        """Read the words of what the site answers."""
        return await self._perform(self._page, raw, arguments)

    async def feed(self, raw: bytes, **arguments: JsonValue) -> Result:
        """Read the entries of what the site answers."""
        return await self._perform(self._feed, raw, arguments)

    async def _perform(
        self, action: Connector, raw: bytes, arguments: dict[str, JsonValue]
    ) -> Result:
        self.site.answers = {"*": raw}
        settings = arguments.pop("settings", {})
        assert isinstance(settings, dict)
        wanted = {**ORDER.arguments, **arguments}
        # As policy does.
        Draft202012Validator(action.descriptor.parameters_schema).validate(wanted)
        order = replace(ORDER, arguments=wanted, settings={**ORDER.settings, **settings})
        Draft202012Validator(action.descriptor.settings_schema).validate(order.settings)
        result = await action.perform(order)
        if not result.reason:
            Draft202012Validator(action.descriptor.output_schema).validate(result.value)
        return result


def value(result: Result) -> dict[str, Any]:
    """Return what the model is told, which is an object."""
    assert isinstance(result.value, dict)
    return result.value


def an_action(name: str) -> dict[str, Any]:
    """Return an action of a bundle."""
    egress = Internet().egress()
    [one] = [one for one in (WebGet(egress), WebSend(egress)) if one.descriptor.name == name]
    return {
        "name": name,
        "program": f"catalogue:{name}",
        "description": one.descriptor.description,
        "parameters_schema": dict(one.descriptor.parameters_schema),
        "effect": one.descriptor.effect,
        "credential": "",
        "settings": {"hosts": [HOST]},
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
    }


async def played(folder: Path, site: Site, action: str) -> tuple[World, ActionFinished]:
    """Play a run that calls an action once, and then says what it heard."""
    world = World(folder)
    world.internet.put(HOST, site)
    once = iter([calls((action, json.dumps(ORDER.arguments)))])
    world.model.answers = lambda _: next(once, answer("Done."))
    await world.create(with_actions(an_action(action)))
    run = await world.play()
    assert run.state is State.SUCCEEDED
    [result] = [one for one in await world.events() if isinstance(one, ActionFinished)]
    return world, result
