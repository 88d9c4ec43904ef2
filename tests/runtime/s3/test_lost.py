"""A write whose answer was lost is repeated in its run until the service says what came of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime import patience
from runtime.connectors.s3 import s3_actions
from runtime.facts import ActionFinished, EffectUnknown, State
from runtime.ports import Authorized, WebRequest
from tests.fakes.internet import Internet, Site, answering
from tests.fakes.runtime_ports import FakeSigner, answer, calls
from tests.fakes.s3 import BUCKET, REGION
from tests.runtime.s3.buckets import Actions, value
from tests.runtime.worlds import World, with_actions

HOST = f"s3.{REGION}.amazonaws.com"


@dataclass
class Forgetful(Site):
    """A service that hangs up on the first request without a word."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super().serve(reader, writer)
        self.answers = {"*": answering()}


@pytest.mark.parametrize(
    ("name", "arguments"), [("s3.put", {"key": "a", "text": "b"}), ("s3.delete", {"key": "a"})]
)
async def test_a_lost_write_is_sent_again_and_its_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, str]
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    world = World(tmp_path)
    once = iter([calls((name, json.dumps(arguments)))])
    world.model.answers = lambda _: next(once, answer("Done."))
    # The usual address of a region, over TLS, would need the certificate of AWS.
    settings = {"bucket": BUCKET, "region": REGION, "endpoint": f"http://{HOST}"}
    async with Forgetful().listening() as site:
        world.internet.put(HOST, site)
        await world.create(with_actions(_action(name, settings)))
        run = await world.play()
    events = await world.events()
    [result] = [one for one in events if isinstance(one, ActionFinished)]
    assert (run.state, result.reason) == (State.SUCCEEDED, "")
    assert sum(isinstance(one, EffectUnknown) for one in events) == 1
    assert len(site.heads) == 2
    assert site.bodies[0] == site.bodies[1]


async def test_a_bucket_is_where_its_region_says() -> None:
    internet = Internet()
    actions = Actions(internet.egress(), FakeSigner())
    assert (await actions.perform("get", key="a")).reason == "HOST_UNKNOWN"
    assert internet.lookups == [HOST]


class LongSigner(FakeSigner):
    """`Signer` with a session token as long as they get."""

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        return Authorized({"X-Amz-Security-Token": "t" * 4_096})


async def test_a_long_session_token_is_sent() -> None:
    async with Site({"*": answering(b"b")}).listening() as site:
        internet = Internet()
        internet.put(HOST, site)
        actions = Actions(internet.egress(), LongSigner(), endpoint=f"http://{HOST}")
        assert value(await actions.perform("get", key="a"))["text"] == "b"
        assert "t" * 4_096 in site.heads[0]


def _action(name: str, settings: dict[str, str]) -> dict[str, object]:
    [one] = [
        one.descriptor
        for one in s3_actions(Internet().egress(), FakeSigner())
        if one.descriptor.name == name
    ]
    return {
        "name": name,
        "program": f"catalogue:{name}",
        "description": one.description,
        "parameters_schema": dict(one.parameters_schema),
        "effect": one.effect,
        "credential": "secrets/s3",
        "settings": settings,
        "limits": {"per_run": 0},
        "approval": "allow",
        "required": False,
    }
