"""The actions on X before a site of the test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Connector, Order, Result
from runtime.connectors.x import x_actions
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner
from tests.fakes.x import FakeX

ORDER = Order(
    key="runs/1/call/step-1-1",
    account="agents/poster",
    arguments={},
    settings={"url": "http://x.test"},
    credential="secrets/x",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)
STRANGER = "99"


class Actions:
    """The actions before one site."""

    def __init__(self, x: FakeX) -> None:
        self.x = x
        self.internet = Internet()
        self.internet.put("x.test", x)
        self.signer = FakeSigner()
        actions = x_actions(self.internet.egress(), self.signer)
        self.by_name: dict[str, Connector] = {one.descriptor.name: one for one in actions}

    async def call(self, name: str, /, **arguments: JsonValue) -> Result:
        """Perform an action, as policy lets it through."""
        action = self.by_name[name]
        Draft202012Validator(action.descriptor.parameters_schema).validate(arguments)
        result = await action.perform(replace(ORDER, arguments=arguments))
        if not result.reason:
            Draft202012Validator(action.descriptor.output_schema).validate(result.value)
        return result


# One call of each, with a post of a stranger that is there.
CALLS: list[tuple[str, dict[str, JsonValue]]] = [
    ("x.post", {"text": "Ether gained. \U0001f680 & more"}),
    ("x.post", {"text": "Why?", "reply_to": "1346889436626259000"}),
    ("x.post", {"text": "See:", "quote": "1346889436626259000"}),
    ("x.delete", {"id": "1346889436626259001"}),
    ("x.like", {"id": "1346889436626259000"}),
    ("x.search", {"query": "ether -is:retweet & \u00fc%", "count": 10.0, "since_id": "1"}),
    ("x.mentions", {"count": 5}),
    ("x.mentions", {}),
    ("x.user", {"name": "stranger"}),
]
WRITES = [("x.post", {"text": "Hi."}), CALLS[3], CALLS[4]]
