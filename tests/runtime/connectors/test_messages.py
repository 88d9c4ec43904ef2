"""Messages: what is sent, what is told of it, and what each service says in its own way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from keymanager.uses.bearer import BearerHeaders, KeyUrl
from runtime.connectors import Result, Unsent
from runtime.connectors.messages.telegram import TelegramSend
from runtime.ports import Authorized, RunFails, WebRequest
from tests.fakes.front import Fault, Front, Says
from tests.fakes.internet import Internet, Site
from tests.fakes.messages import CHAT, SLACK_CHANNEL
from tests.runtime.connectors.stand import CANARY, ORDER, CanarySigner, Stand
from tests.runtime.connectors.stands import SUBJECTS

BY_NAME = {subject.name: subject for subject in SUBJECTS}


async def call(
    name: str, *faults: Fault, settings: dict[str, JsonValue] | None = None, **arguments: JsonValue
) -> tuple[Result, Stand]:
    """Perform a call of an action before its service."""
    async with BY_NAME[name].open() as stand:
        wanted = {**stand.order.settings, **(settings or {})}
        stand.order = replace(stand.order, arguments=arguments, settings=wanted)
        assert isinstance(stand.service, Front)
        stand.service.fail_next(*faults)
        return await stand.perform(), stand


def sent(stand: Stand) -> list[Any]:
    """Return the JSON of what came."""
    assert isinstance(stand.service, Front)
    return [json.loads(body) for body in stand.service.bodies]


def says(status: int, **value: object) -> Says:
    """Return an answer with an object."""
    return Says(status, json.dumps(value).encode())


# --- Discord -------------------------------------------------------------------------------------


async def test_a_message_to_discord_has_a_nonce_and_calls_nobody() -> None:
    result, stand = await call("discord.post", text="@everyone", reply_to="7")
    assert result == Result({"posted": True, "id": "9000000000"})
    [message] = sent(stand)
    assert message["allowed_mentions"] == {"parse": []}
    assert message["message_reference"] == {"message_id": "7"}
    assert (len(message["nonce"]), message["enforce_nonce"]) == (25, True)


async def test_after_a_lost_answer_discord_is_asked_once_more_with_the_same_nonce() -> None:
    result, stand = await call("discord.post", "lost", text="Hi.")
    first, second = sent(stand)
    assert first == second
    assert (result.reason, stand.effects()) == ("", 1)


@pytest.mark.parametrize("second", [says(403, message="No."), Says(429)])
async def test_what_comes_after_a_lost_answer_says_nothing_of_the_first(second: Says) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await call("discord.post", "lost", second, text="Hi.")
    assert not isinstance(raised.value, Unsent)


async def test_discord_says_in_its_answer_when_it_takes_more() -> None:
    with pytest.raises(Unsent) as raised:
        await call("discord.post", says(429, retry_after=1.25, **{"global": False}), text="Hi.")
    assert raised.value.retry_seconds == 1.25


# --- Slack ---------------------------------------------------------------------------------------


async def test_a_message_to_slack_calls_nobody() -> None:
    result, stand = await call("slack.post", text="<!channel> & co", reply_to="1767225600.000100")
    assert result == Result({"posted": True, "id": "1767225600.000100"})
    [message] = sent(stand)
    assert message["text"] == "&lt;!channel&gt; &amp; co"
    assert (message["channel"], message["thread_ts"]) == (SLACK_CHANNEL, "1767225600.000100")


async def test_slack_refuses_in_an_answer_that_looks_fine() -> None:
    result, _ = await call("slack.post", settings={"channel": "C1"}, text="Hi.")
    told: JsonValue = {"error": "CHANNEL_NOT_FOUND", "message": "Slack says channel_not_found"}
    assert result == Result(told, "CHANNEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("code", "is_unsent"),
    [("ratelimited", True), ("fatal_error", False), ("internal_error", False), ("No!", False)],
)
async def test_what_slack_leaves_open_stays_open(code: str, *, is_unsent: bool) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await call("slack.post", says(200, ok=False, error=code), text="Hi.")
    assert isinstance(raised.value, Unsent) == is_unsent


# --- Telegram ------------------------------------------------------------------------------------


async def test_a_message_to_telegram_answers_another_one() -> None:
    result, stand = await call("telegram.send", text="Hi.", reply_to=7)
    assert result == Result({"sent": True, "id": 1})
    reply = {"message_id": 7}
    assert sent(stand) == [{"chat_id": CHAT, "text": "Hi.", "reply_parameters": reply}]


async def test_telegram_says_in_its_answer_when_it_takes_more() -> None:
    too_often = says(429, ok=False, error_code=429, parameters={"retry_after": 35})
    with pytest.raises(Unsent) as raised:
        await call("telegram.send", too_often, text="Hi.")
    assert raised.value.retry_seconds == 35


async def test_telegram_tells_why_it_refuses() -> None:
    result, _ = await call("telegram.send", settings={"chat": "1"}, text="Hi.")
    told: JsonValue = {"error": "INVALID_REQUEST", "message": "Bad Request: chat not found"}
    assert result == Result(told, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "value",
    [
        {"ok": True},
        {"ok": True, "result": {"message_id": True}},
        {"ok": True, "result": {"message_id": "7"}},
        {"ok": False, "result": {"message_id": 7}},
    ],
)
async def test_an_answer_without_a_message_says_nothing(value: dict[str, object]) -> None:
    with pytest.raises(PeerUnavailable):
        await call("telegram.send", says(200, **value), text="Hi.")


# --- Webhooks ------------------------------------------------------------------------------------


async def test_a_receiver_gets_a_signed_event() -> None:
    result, stand = await call("webhook.send", data={"price": 3})
    assert result == Result({"sent": True})
    assert sent(stand) == [
        {
            "specversion": "1.0",
            "id": stand.order.key,
            "source": "agents/brief",
            "type": "actionvm.message",
            "time": stand.order.time.isoformat(),
            "datacontenttype": "application/json",
            "data": {"price": 3},
        }
    ]


async def test_a_receiver_that_knows_another_key_refuses() -> None:
    async with BY_NAME["webhook.send"].open() as stand:
        stand.order = replace(stand.order, arguments={"data": {}})
        stand.signer.hmac_key = b"another"
        assert (await stand.perform()).reason == "EVENT_REFUSED"


async def test_an_event_that_is_too_large_is_not_signed() -> None:
    result, stand = await call("webhook.send", data={"text": "x" * 50_000})
    assert (result.reason, stand.keys_used) == ("TOO_LARGE", 0)


async def test_an_address_that_is_none_fails_the_run() -> None:
    with pytest.raises(RunFails, match="SETTINGS_INVALID"):
        await call("webhook.send", settings={"url": "http://a\\b"}, data={})


# --- All -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["discord.post", "slack.post", "telegram.send"])
async def test_the_key_manager_takes_what_is_asked_of_it(name: str) -> None:
    _, stand = await call(name, text="Hi.")
    [wanted] = stand.signer.authorized
    url = wanted.url.replace("http://", "https://")
    if wanted.scheme == "key_url":
        assert KeyUrl(wanted.method, url).facts()["path"] == "/bot{key}/sendMessage"
    else:
        BearerHeaders(wanted.method, url, wanted.token_type or "Bearer")


class Astray(CanarySigner):
    """A key manager that is wrong about where a request goes."""

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        """Authenticate another one."""
        return Authorized({}, f"http://elsewhere.test/bot{CANARY}/sendMessage")


async def test_a_key_goes_to_no_other_host_than_it_was_asked_for() -> None:
    internet = Internet()
    async with Site().listening() as elsewhere:
        internet.put("elsewhere.test", elsewhere)
        action = TelegramSend(internet.egress(), Astray())
        settings: dict[str, JsonValue] = {"chat": CHAT, "url": "http://service.test"}
        order = replace(ORDER, arguments={"text": "Hi."}, settings=settings, credential="secrets/t")
        assert (await action.perform(order)).reason == "HOST_FORBIDDEN"
    assert not elsewhere.heads
