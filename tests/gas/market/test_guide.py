"""What docs/marketplace.md tells a receiver works."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from chassis.clock import SystemClock
from chassis.seal import Seal
from gas.market.events import TYPES

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "marketplace.md"
BODY = b'{"specversion": "1.0"}'

Verify: TypeAlias = Callable[[str, dict[str, str], bytes], bool]


@pytest.fixture
def verify() -> Verify:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102  # this is what the guide offers to copy
    return cast("Verify", names["verify"])


def test_the_guide_accepts_what_the_service_signs(verify: Verify) -> None:
    assert verify(_secret(), _headers(SystemClock().now()), BODY)


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_the_guide_refuses_what_was_recorded(verify: Verify, age: timedelta) -> None:
    assert not verify(_secret(), _headers(SystemClock().now() - age), BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_guide_refuses_a_changed_header(verify: Verify, name: str) -> None:
    headers = _headers(SystemClock().now())
    headers[name] += "1ü"

    assert not verify(_secret(), headers, BODY)


def test_the_guide_refuses_a_changed_body(verify: Verify) -> None:
    assert not verify(_secret(), _headers(SystemClock().now()), BODY + b" ")


def test_the_guide_accepts_one_of_several_signatures(verify: Verify) -> None:
    headers = _headers(SystemClock().now())
    headers["webhook-signature"] = f"v1,b2xk {headers['webhook-signature']}"

    assert verify(_secret(), headers, BODY)


def test_the_guide_names_every_type_of_event() -> None:
    text = GUIDE.read_text()

    assert all(f"`{kind}`" in text for kind in TYPES)


def _secret() -> str:
    return Seal(bytes(32)).secret("webhooks/w")


def _headers(time: datetime) -> dict[str, str]:
    return Seal(bytes(32)).headers("webhooks/w", event_id="e", time=time, body=BODY)
