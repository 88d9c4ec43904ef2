"""The contract of schedules over gRPC: parse, ask the domain, build the answer."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.runtime.v1 import schedules_pb2 as pb
from actionvm.runtime.v1 import schedules_pb2_grpc
from chassis import fields
from chassis.canonical import sha256_hex
from chassis.clock import Clock
from chassis.errors import InvalidField
from chassis.identity import OPERATOR, PEOPLE
from chassis.seal import Seal
from chassis.server import Hosted

from ..errors import WebhooksOff
from .messages import (
    bundle_name,
    firing_to_proto,
    schedule_from_proto,
    schedule_name,
    schedule_to_proto,
)
from .ports import Starter
from .schedule import Schedule, Webhook
from .store import ScheduleStore
from .timing import first_time

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["ScheduleService"]
_OPERATOR = frozenset({OPERATOR})
CALLERS = {
    "CreateSchedule": _OPERATOR,
    "GetSchedule": PEOPLE,
    "ListSchedules": PEOPLE,
    "UpdateSchedule": _OPERATOR,
    "DeleteSchedule": _OPERATOR,
    "ListFirings": PEOPLE,
}


@dataclass(frozen=True)
class Door:
    """Where webhooks come in: who signs them, and the URL that callers see."""

    seal: Seal
    url: str


class ScheduleService:
    """Answers calls; the clerk does the work behind them. Without a door there are no webhooks."""

    def __init__(
        self,
        *,
        store: ScheduleStore,
        starter: Starter,
        clock: Clock,
        dice: random.Random,
        bell: asyncio.Event,
        door: Door | None,
    ) -> None:
        self._store = store
        self._starter = starter
        self._clock = clock
        self._dice = dice
        self._bell = bell
        self._door = door

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        request_id = fields.require_request_id(request.request_id)
        if not request.HasField("schedule"):
            raise InvalidField("schedule", "is required")
        digest = sha256_hex(request.schedule.SerializeToString(deterministic=True))
        schedule = await asyncio.to_thread(
            self._store.made_by, request_id, content_sha256=digest
        ) or await self._create(request.schedule, request_id, digest)
        secret = ""
        if self._door and isinstance(schedule.trigger, Webhook):
            secret = self._door.seal.secret(schedule.name)
        return pb.CreateScheduleResponse(schedule=self._proto(schedule), webhook_secret=secret)

    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        name = schedule_name("name", request.name)
        schedule = await asyncio.to_thread(self._store.get, name)
        return pb.GetScheduleResponse(schedule=self._proto(schedule))

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        limit = fields.page_limit(request.page_size)
        (after,) = fields.page_start(request.page_token) or ("",)
        # One more than the page tells whether there is another.
        found = await asyncio.to_thread(self._store.page, after=after, limit=limit + 1)
        page = found[:limit]
        token = fields.page_token(page[-1].name) if len(found) > limit else ""
        return pb.ListSchedulesResponse(schedules=map(self._proto, page), next_page_token=token)

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        name = schedule_name("name", request.name)
        bundle = bundle_name("bundle", request.bundle) if request.bundle else ""
        is_paused = request.paused if request.HasField("paused") else None
        await asyncio.to_thread(self._store.get, name)
        if bundle:
            await self._starter.check(bundle)
        schedule = await asyncio.to_thread(
            self._store.update, name, self._clock.now(), is_paused=is_paused, bundle=bundle
        )
        self._bell.set()
        return pb.UpdateScheduleResponse(schedule=self._proto(schedule))

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        await asyncio.to_thread(self._store.delete, schedule_name("name", request.name))
        return pb.DeleteScheduleResponse()

    async def ListFirings(
        self, request: pb.ListFiringsRequest, context: Context
    ) -> pb.ListFiringsResponse:
        name = schedule_name("schedule", request.schedule)
        limit = fields.page_limit(request.page_size)
        start = fields.page_start(request.page_token)
        before = fields.page_number(start[0]) if start else None
        found = await asyncio.to_thread(self._store.firings, name, before=before, limit=limit + 1)
        page = found[:limit]
        token = fields.page_token(str(page[-1].number)) if len(found) > limit else ""
        return pb.ListFiringsResponse(firings=map(firing_to_proto, page), next_page_token=token)

    async def _create(self, asked: pb.Schedule, request_id: str, digest: str) -> Schedule:
        now = self._clock.now()
        name = f"schedules/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}"
        schedule = schedule_from_proto(asked, name=name, now=now)
        next_time = first_time(schedule, now)
        if schedule.is_timed and next_time is None:
            raise InvalidField("schedule", "is never due between its start and its end")
        if self._door is None and isinstance(schedule.trigger, Webhook):
            raise WebhooksOff
        await self._starter.check(schedule.bundle)
        schedule = await asyncio.to_thread(
            self._store.create,
            replace(schedule, next_time=None if schedule.is_paused else next_time),
            request_id=request_id,
            content_sha256=digest,
        )
        self._bell.set()
        return schedule

    def _proto(self, schedule: Schedule) -> pb.Schedule:
        return schedule_to_proto(schedule, webhook_base=self._door.url if self._door else "")


def beside(hosted: Hosted, servicer: ScheduleService) -> Hosted:
    """Return what is served, and schedules with it."""

    def add_to(server: Any) -> None:  # noqa: ANN401  # as in `Hosted`
        hosted.add_to(server)
        adding: Callable[[ScheduleService, Any], None] = (
            schedules_pb2_grpc.add_ScheduleServiceServicer_to_server  # type: ignore[assignment]  # it looks like one
        )
        adding(servicer, server)

    return replace(
        hosted,
        add_to=add_to,
        callers={**hosted.callers, **CALLERS},
        others=(*hosted.others, DESCRIPTOR),
    )
