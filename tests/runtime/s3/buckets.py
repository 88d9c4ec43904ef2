"""The actions before a bucket of moto, or a site that says what it likes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Order, Result
from runtime.connectors.s3 import s3_actions
from runtime.egress.client import Egress
from runtime.ports import Signer
from tests.fakes.s3 import BUCKET, REGION

START = datetime(2026, 1, 1, tzinfo=UTC)


class Actions:
    """All actions of S3, with settings."""

    def __init__(self, egress: Egress, signer: Signer, **settings: JsonValue) -> None:
        self.connectors = {one.descriptor.name: one for one in s3_actions(egress, signer)}
        self.settings: Mapping[str, JsonValue] = {"bucket": BUCKET, "region": REGION, **settings}

    async def perform(self, name: str, **arguments: JsonValue) -> Result:
        """Perform one, as policy allows it."""
        connector = self.connectors[f"s3.{name}"]
        Draft202012Validator(connector.descriptor.parameters_schema).validate(arguments)
        Draft202012Validator(connector.descriptor.settings_schema).validate(self.settings)
        order = Order(
            "runs/1/call/1", "agents/a", arguments, self.settings, "secrets/s3", (), START
        )
        result = await connector.perform(order)
        if not result.reason:
            Draft202012Validator(connector.descriptor.output_schema).validate(result.value)
        return result


def value(result: Result) -> dict[str, Any]:
    """Return what the model is told of what was done."""
    assert not result.reason, result
    assert isinstance(result.value, dict)
    return result.value
