"""All that schedules consist of, opened together: from a request over HTTP to a run."""

from __future__ import annotations

import base64
import hmac
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from actionvm.runtime.v1 import schedules_pb2 as pb
from runtime.schedules.office import Desk, WebhookSettings, working
from runtime.schedules.service import ScheduleService
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import BUNDLE, NOW, FakeCollections
from tests.runtime.worlds import until

CONTEXT: Any = None


@asynccontextmanager
async def opened(office: Office, folder: Path, url: str = "") -> AsyncIterator[ScheduleService]:
    """Open what schedules consist of, with a port for webhooks."""
    webhooks = WebhookSettings("127.0.0.1:0", url, folder / "webhooks.key")
    desk = Desk(office.store, office.clock, office.bell)
    async with working(
        desk, office.starter, FakeCollections(), webhooks=webhooks, dice=random.Random(1)
    ) as service:
        yield service


def creating() -> pb.CreateScheduleRequest:
    """Return a request for a schedule that waits for webhooks."""
    asked = pb.Schedule(bundle=BUNDLE, webhook=pb.WebhookTrigger())
    return pb.CreateScheduleRequest(request_id="r", schedule=asked)


async def test_who_has_url_and_secret_starts_a_run(office: Office, tmp_path: Path) -> None:
    async with opened(office, tmp_path) as service:
        made = await service.CreateSchedule(creating(), CONTEXT)
        # As docs/schedules.md tells it, and nothing else.
        body, timestamp = b'{"order": 7}', str(int(NOW.timestamp()))
        key = base64.b64decode(made.webhook_secret.removeprefix("whsec_"))
        signed = b".".join([b"d-1", timestamp.encode(), body])
        signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        headers = {
            "webhook-id": "d-1",
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(made.schedule.webhook_url, content=body, headers=headers)
        assert answer.status_code == 202
        await until(lambda: office.starter.runs)
    (start,) = office.starter.runs.values()
    assert '"event":{"order":7}' in start.input


async def test_a_secret_stays_the_same_after_a_restart(office: Office, tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        async with opened(office, tmp_path) as service:
            secrets.append((await service.CreateSchedule(creating(), CONTEXT)).webhook_secret)
    assert secrets[0] == secrets[1] != ""


async def test_callers_may_see_another_url(office: Office, tmp_path: Path) -> None:
    async with opened(office, tmp_path, "https://hooks.example.com/") as service:
        schedule = (await service.CreateSchedule(creating(), CONTEXT)).schedule
    identifier = schedule.name.removeprefix("schedules/")
    assert schedule.webhook_url == f"https://hooks.example.com/hooks/{identifier}"
