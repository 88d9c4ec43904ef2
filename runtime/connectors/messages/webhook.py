"""The action `webhook.send`: an event for one program, which knows by its signature whose it is.

Source: CloudEvents 1.0 (JSON format), Standard Webhooks 1.0.
"""

from __future__ import annotations

import base64

from pydantic import JsonValue

from chassis.canonical import canonical_json
from chassis.clock import Clock

from ...egress import Refused, Request
from ...egress.client import Egress
from ...facts import Failure
from ...ports import RunFails, Signer
from .. import Descriptor, Order, Result, closed_object
from ..http import is_done, preparing
from ..keyed import ask_bound, told

BODY_BYTES_MAX = 48 * 1024
TYPE_DEFAULT = "actionvm.message"

_DESCRIPTOR = Descriptor(
    name="webhook.send",
    description="Sends data to the program of a person, as one event.",
    parameters_schema=closed_object(
        data={"type": "object", "description": "What the program wants to know, as JSON."}
    ),
    effect="write",
    needs_credential=True,
    settings_schema={
        "type": "object",
        "properties": {
            "url": {
                "type": "string",
                "pattern": "^https?://[^/?#@\\s]+(/[^#\\s]*)?$",
                "maxLength": 2_048,
                "description": "Where the program takes events.",
            },
            "type": {
                "type": "string",
                "pattern": "^[a-z0-9][a-z0-9._-]{0,99}$",
                "description": f"The type of the event; {TYPE_DEFAULT} if nothing is said.",
            },
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    # Receivers of Standard Webhooks take what has the same `webhook-id` once.
    is_idempotent=True,
    output_schema=closed_object(sent={"type": "boolean"}),
)


class WebhookSend:
    """Sends an event until its receiver says that it has it."""

    def __init__(self, egress: Egress, signer: Signer, clock: Clock) -> None:
        self._egress = egress
        self._signer = signer
        self._clock = clock

    @property
    def descriptor(self) -> Descriptor:
        """Return what the catalogue says."""
        return _DESCRIPTOR

    async def perform(self, order: Order) -> Result:
        """Send; the key manager makes the code by which the receiver knows us."""
        event: dict[str, JsonValue] = {
            "specversion": "1.0",
            "id": order.key,
            "source": order.account,
            "type": order.settings.get("type", TYPE_DEFAULT),
            "time": order.time.isoformat(),
            "datacontenttype": "application/json",
            "data": order.arguments["data"],
        }
        body = canonical_json(event)
        if len(body) > BODY_BYTES_MAX:
            return told("TOO_LARGE", f"the event is over {BODY_BYTES_MAX} bytes; send less")
        time = str(int(self._clock.now().timestamp()))
        signed = b".".join([order.key.encode(), time.encode(), body])
        async with preparing():
            code = await self._signer.hmac_sha256(order.credential, signed, account=order.account)
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": order.key,
            "webhook-timestamp": time,
            "webhook-signature": f"v1,{base64.b64encode(code).decode()}",
        }
        request = Request("POST", str(order.settings["url"]), headers=headers, body=body)
        try:
            answer = await ask_bound("webhook", self._egress, request, bytes_max=1_024)
        except Refused as error:
            if error.reason == "URL_INVALID":
                told_of = f"the setting url: {error.message}; correct it and assemble again"
                raise RunFails(Failure("SETTINGS_INVALID", told_of)) from error
            return told(error.reason, error.message)
        if not is_done("webhook", answer):
            return told("EVENT_REFUSED", f"the receiver answers with HTTP status {answer.status}")
        return Result({"sent": True})

    async def find(self, order: Order) -> Result | None:
        """Never happens: what is sent again does no harm."""
        raise AssertionError(order.key)
