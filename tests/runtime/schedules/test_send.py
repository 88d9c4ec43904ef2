"""The action `agent.send`: one order, one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Order
from runtime.connectors.send import AgentSend
from runtime.schedules.inbox import Inbox
from runtime.schedules.schedule import EVENT_BYTES_MAX, WAITING_MAX, Message
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import NAME, NOW, a_schedule, a_webhook

ORDER = Order(
    key="runs/1/call/step-1-1",
    account="agents/market-brief",
    arguments={"payload": {"price": 7}},
    settings={"schedule": NAME},
    credential="",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture
def action(office: Office) -> AgentSend:
    office.keep(a_schedule(Message()))
    return AgentSend(Inbox(office.store, office.clock, office.bell))


async def test_a_message_fires_the_schedule(office: Office, action: AgentSend) -> None:
    result = await action.perform(ORDER)
    assert (result.value, result.reason) == ({"sent": True, "firing": f"{NAME}/firings/1"}, "")
    (firing,) = office.firings
    assert json.loads(firing.event) == {
        "sender": "agents/market-brief",
        "payload": {"price": 7},
    }
    await office.at(0)
    assert len(office.starter.runs) == 1


async def test_an_order_that_is_repeated_is_one_message(office: Office, action: AgentSend) -> None:
    first = await action.perform(ORDER)
    assert await action.perform(ORDER) == first
    assert await action.find(ORDER) == first
    await action.perform(replace(ORDER, key="runs/1/call/step-1-2"))
    assert len(office.firings) == 2


async def test_an_order_that_was_not_carried_out_is_not_found(action: AgentSend) -> None:
    assert await action.find(ORDER) is None


async def test_only_who_may_send_is_heard(office: Office) -> None:
    office.keep(a_schedule(Message(("agents/clerk",))))
    action = AgentSend(Inbox(office.store, office.clock, office.bell))
    assert (await action.perform(ORDER)).reason == "SENDER_REFUSED"
    assert (await action.perform(replace(ORDER, account="agents/clerk"))).reason == ""


async def test_it_gives_what_it_says(action: AgentSend) -> None:
    result = await action.perform(ORDER)
    assert action.descriptor.output_schema
    Draft202012Validator(action.descriptor.output_schema).validate(result.value)


async def test_a_message_has_a_limit(office: Office, action: AgentSend) -> None:
    large: dict[str, JsonValue] = {"payload": {"a": "x" * EVENT_BYTES_MAX}}
    assert (await action.perform(replace(ORDER, arguments=large))).reason == "MESSAGE_INVALID"
    assert office.firings == []


def pause(office: Office) -> None:
    """Pause the schedule."""
    office.store.update(NAME, NOW, is_paused=True, bundle="")


def fill(office: Office) -> None:
    """Let as many firings wait as may."""
    for number in range(WAITING_MAX):
        office.store.offer(NAME, str(number), "1", NOW)


def replace_by_webhook(office: Office) -> None:
    """Have another kind of schedule under the name."""
    office.store.delete(NAME)
    office.keep(a_webhook())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pause, "SCHEDULE_PAUSED"),
        (fill, "QUEUE_FULL"),
        (replace_by_webhook, "SCHEDULE_NOT_FOUND"),
        (lambda office: office.store.delete(NAME), "SCHEDULE_NOT_FOUND"),
    ],
)
async def test_the_model_is_told_what_cannot_be_sent(
    office: Office, action: AgentSend, change: Callable[[Office], object], reason: str
) -> None:
    change(office)
    result = await action.perform(ORDER)
    assert result.reason == reason
    assert isinstance(result.value, dict)
    assert result.value["error"] == reason


def test_its_schemas_take_what_it_needs(action: AgentSend) -> None:
    descriptor = action.descriptor
    settings = Draft202012Validator(dict(descriptor.settings_schema))
    parameters = Draft202012Validator(dict(descriptor.parameters_schema))
    assert settings.is_valid(dict(ORDER.settings))
    assert not settings.is_valid({"schedule": "schedules/x"})
    assert not settings.is_valid({})
    assert parameters.is_valid(dict(ORDER.arguments))
    assert not parameters.is_valid({"payload": "text"})
