"""Schedules as the command line sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.runtime.v1 import schedules_pb2 as pb
from actionvm.runtime.v1 import schedules_pb2_grpc

from .fakes import BUNDLE, RUN

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

SCHEDULE = "schedules/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"


class FakeSchedules(schedules_pb2_grpc.ScheduleServiceServicer):
    """Has one schedule, and keeps what it is asked."""

    def __init__(self) -> None:
        self.schedule = pb.Schedule(
            name=SCHEDULE,
            bundle=BUNDLE,
            cron=pb.CronTrigger(expression="0 9 * * *", timezone="UTC"),
            missed_policy=pb.MISSED_POLICY_ONCE,
            overlap_policy=pb.OVERLAP_POLICY_QUEUE,
            overlap_max=1,
            next_time=Timestamp(seconds=1_800_000_000),
        )
        self.firings = [
            pb.Firing(name=f"{SCHEDULE}/firings/2", run=RUN, state=pb.Firing.STATE_STARTED),
            pb.Firing(
                name=f"{SCHEDULE}/firings/1",
                state=pb.Firing.STATE_SKIPPED,
                reason="MISSED",
                message="nobody was there",
            ),
        ]
        self.secret = ""
        self.created: list[pb.Schedule] = []
        self.updates: list[pb.UpdateScheduleRequest] = []
        self.deleted: list[str] = []

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        self.created.append(request.schedule)
        return pb.CreateScheduleResponse(schedule=self.schedule, webhook_secret=self.secret)

    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        return pb.GetScheduleResponse(schedule=self.schedule)

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        return pb.ListSchedulesResponse(schedules=[self.schedule])

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        self.updates.append(request)
        self.schedule.paused = request.paused
        return pb.UpdateScheduleResponse(schedule=self.schedule)

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        self.deleted.append(request.name)
        return pb.DeleteScheduleResponse()

    async def ListFirings(
        self, request: pb.ListFiringsRequest, context: Context
    ) -> pb.ListFiringsResponse:
        return pb.ListFiringsResponse(firings=self.firings[: request.page_size])
