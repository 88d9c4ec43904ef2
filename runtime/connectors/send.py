"""The action `agent.send`: a message to a schedule, which starts a run of whoever waits for it."""

from __future__ import annotations

from ..errors import ScheduleNotFound
from ..schedules.inbox import EventRefused, Inbox
from ..schedules.schedule import Firing
from ..schedules.store import QueueFull, SchedulePaused
from . import Descriptor, Order, Result, closed_object

_DESCRIPTOR = Descriptor(
    name="agent.send",
    description="Sends a message to another agent, which reads it later and does not answer.",
    parameters_schema={
        "type": "object",
        "properties": {"payload": {"type": "object", "description": "At most 16 KiB of JSON."}},
        "required": ["payload"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=False,
    settings_schema={
        "type": "object",
        "properties": {
            "schedule": {
                "type": "string",
                "pattern": "^schedules/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            }
        },
        "required": ["schedule"],
        "additionalProperties": False,
    },
    is_idempotent=True,
    is_reconcilable=True,
    output_schema=closed_object(sent={"type": "boolean"}, firing={"type": "string"}),
)


class AgentSend:
    """Sends to the schedule that the manifest names, and finds the firing again by the key."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Send; the same order is one message."""
        payload = order.arguments["payload"]
        try:
            firing = await self._inbox.send(
                _schedule(order), order.key, sender=order.account, payload=payload
            )
        except EventRefused as error:
            return _refused(error.reason, error.message)
        except ScheduleNotFound as error:
            return _refused(error.reason, "nobody waits for messages there")
        except SchedulePaused:
            return _refused("SCHEDULE_PAUSED", "messages are not taken at the moment")
        except QueueFull:
            return _refused("QUEUE_FULL", "too many messages wait there already")
        return _sent(firing)

    async def find(self, order: Order) -> Result | None:
        """Look for the firing of the order."""
        firing = await self._inbox.find(_schedule(order), order.key)
        return _sent(firing) if firing else None


def _schedule(order: Order) -> str:
    name = order.settings["schedule"]
    assert isinstance(name, str), "settings are valid under the schema"
    return name


def _sent(firing: Firing) -> Result:
    return Result({"sent": True, "firing": firing.name})


def _refused(reason: str, message: str) -> Result:
    return Result({"error": reason, "message": message}, reason=reason)
