"""The action `web.send`: what is sent, once, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from runtime import patience
from runtime.connectors import Unsent
from runtime.connectors.web import BODY_BYTES_MAX
from runtime.egress.wire import HEADER_BYTES_MAX
from runtime.facts import UNKNOWN
from tests.fakes.internet import Site, answering
from tests.runtime.web.webs import Web, played, value


async def test_json_is_sent_as_json(web: Web) -> None:
    result = await web.send(
        answering(b'{"id": 7}', "location: /a/7", status="201 Created", kind="application/json"),
        json={"a": "\u00fc"},
        headers={"idempotency-key": "k"},
    )
    [head] = web.site.heads
    assert head.startswith("POST /a HTTP/1.1")
    assert "content-type: application/json\r\n" in head
    assert "idempotency-key: k\r\n" in head
    assert json.loads(web.site.bodies[0]) == {"a": "\u00fc"}
    assert (value(result)["status"], value(result)["json"]) == (201, {"id": 7})
    assert value(result)["location"] == "/a/7"


async def test_text_is_sent_as_what_it_is(web: Web) -> None:
    kind = "application/x-www-form-urlencoded"
    await web.send(answering(), text="a=1", content_type=kind)
    assert f"content-type: {kind}" in web.site.heads[0]
    assert web.site.bodies == [b"a=1"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"json": 1, "text": "a"}, "BODY_INVALID"),
        ({"json": "a" * BODY_BYTES_MAX}, "BODY_INVALID"),
        ({"method": "DELETE"}, "METHOD_FORBIDDEN"),
        ({"url": "http://evil.org/"}, "HOST_FORBIDDEN"),
    ],
)
async def test_what_must_not_be_sent_is_not(
    web: Web, arguments: dict[str, JsonValue], reason: str
) -> None:
    assert (await web.send(b"", **arguments)).reason == reason
    assert web.site.heads == []


async def test_a_method_that_was_named_may_be_used(web: Web) -> None:
    result = await web.send(answering(), method="DELETE", settings={"methods": ["DELETE"]})
    assert value(result)["status"] == 200
    assert "content-length: 0" in web.site.heads[0]


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "302 Found"])
async def test_what_a_service_does_not_do_is_told(web: Web, status: str) -> None:
    result = await web.send(answering(b"no", "location: http://evil.org", status=status))
    assert (value(result)["status"], value(result)["text"]) == (int(status[:3]), "no")


@pytest.mark.parametrize("status", ["429 Too Many Requests", "425 Too Early"])
async def test_what_a_service_has_not_done_may_be_sent_again(web: Web, status: str) -> None:
    with pytest.raises(Unsent) as raised:
        await web.send(answering(b"", "Retry-After: 7", status=status))
    assert raised.value.retry_seconds == 7


async def test_where_nobody_listens_nothing_was_sent(web: Web) -> None:
    web.internet.sites.clear()
    with pytest.raises(Unsent):
        await web.send()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
        answering(status="500 Error"),
        answering(status="503 Unavailable"),
        answering(status="408 Timeout"),
        answering(b"", "x: " + "y" * 2 * HEADER_BYTES_MAX),
        answering(b"a", "content-encoding: br"),
    ],
)
async def test_an_answer_that_says_nothing_leaves_it_open(web: Web, raw: bytes) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await web.send(raw, json=1)
    assert not isinstance(raised.value, Unsent)


async def test_what_is_done_is_done_whatever_is_answered(web: Web) -> None:
    result = await web.send(answering(b"\0", kind="image/png"))
    assert (value(result)["status"], value(result)["text"], result.reason) == (200, "", "")


async def test_a_lost_answer_is_unknown_and_never_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS_MIN", 0.001)
    async with Site({"*": b""}).listening() as site:
        world, result = await played(tmp_path, site, "web.send")
    assert result.reason == UNKNOWN
    assert len(site.heads) == 1
    assert (await world.kinds()).count("EffectUnknown") == 1
