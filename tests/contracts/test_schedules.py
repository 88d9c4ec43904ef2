"""The contract of schedules: every RPC is called, every reason is provoked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from actionvm.runtime.v1 import schedules_pb2 as pb
from actionvm.runtime.v1 import schedules_pb2_grpc
from chassis.server import Hosted
from runtime.schedules import store as store_module
from runtime.schedules.database import open_schedule_database
from runtime.schedules.office import Desk, WebhookSettings, working
from runtime.schedules.service import beside
from runtime.schedules.starting import RuntimeStarter
from runtime.schedules.store import ScheduleStore
from runtime.service import hosted
from tests.contracts.contract import Call, make, refused_field
from tests.fakes.runtime_ports import FakeSigner
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.runtime.schedules.schedules import FakeCollections
from tests.runtime.worlds import START, World, payload

BUNDLE = FakeSigner().seal(payload()).name
NOBODY = "schedules/00000000-0000-4000-8000-000000009999"
EVERY = pb.IntervalTrigger(seconds=60)


def asked(**changes: Any) -> pb.Schedule:  # noqa: ANN401  # fields of the message
    """Return a schedule that can be made, after changes."""
    return pb.Schedule(**{"bundle": BUNDLE, "interval": EVERY, **changes})


def creating(request_id: str = "other", **changes: Any) -> pb.CreateScheduleRequest:  # noqa: ANN401  # as above
    """Return a request for a schedule."""
    return pb.CreateScheduleRequest(request_id=request_id, schedule=asked(**changes))


CALLS = [
    Call("CreateSchedule", creating("a")),
    Call("CreateSchedule", creating("a")),
    Call("CreateSchedule", creating("a", dry_run=True), reason="REQUEST_ID_REUSED"),
    Call("CreateSchedule", creating(""), reason="INVALID_FIELD"),
    Call("CreateSchedule", creating(bundle=f"bundles/{64 * '0'}"), reason="BUNDLE_NOT_FOUND"),
    Call("CreateSchedule", creating(webhook=pb.WebhookTrigger()), reason="WEBHOOKS_OFF"),
    Call("CreateSchedule", creating(), caller="auditor", reason="METHOD_DENIED"),
    Call("CreateSchedule", creating(), caller="nobody", reason="TOKEN_INVALID"),
    Call("GetSchedule", pb.GetScheduleRequest(name=NOBODY), reason="SCHEDULE_NOT_FOUND"),
    Call("GetSchedule", pb.GetScheduleRequest(), reason="INVALID_FIELD"),
    Call("ListSchedules", pb.ListSchedulesRequest(), caller="viewer"),
    Call("ListSchedules", pb.ListSchedulesRequest(page_token="?"), reason="INVALID_FIELD"),
    Call("UpdateSchedule", pb.UpdateScheduleRequest(name=NOBODY), reason="SCHEDULE_NOT_FOUND"),
    Call("UpdateSchedule", pb.UpdateScheduleRequest(), caller="viewer", reason="METHOD_DENIED"),
    Call("DeleteSchedule", pb.DeleteScheduleRequest(name=NOBODY), reason="SCHEDULE_NOT_FOUND"),
    Call("DeleteSchedule", pb.DeleteScheduleRequest(), caller="viewer", reason="METHOD_DENIED"),
    Call("ListFirings", pb.ListFiringsRequest(schedule=NOBODY), reason="SCHEDULE_NOT_FOUND"),
    Call("ListFirings", pb.ListFiringsRequest(page_size=-1), reason="INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="module")
def hosted_service(world: World) -> HostedFactory:
    @asynccontextmanager
    async def host() -> AsyncIterator[Hosted]:
        world.seal()
        engine = open_schedule_database(world.folder / "schedules.db")
        runtime, conductor = world.servicer()
        await conductor.start()
        dice = random.Random(1)
        starter = RuntimeStarter(runtime._stage, conductor, dice)
        desk = Desk(ScheduleStore(engine), world.clock, asyncio.Event())
        off = WebhookSettings("", "", world.folder / "webhooks.key")
        async with working(desk, starter, FakeCollections(), webhooks=off, dice=dice) as schedules:
            yield beside(hosted(runtime), schedules)
        await conductor.stop()
        engine.dispose()

    return host


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Callable[[grpc.Channel], Any]:
    return schedules_pb2_grpc.ScheduleServiceStub


def created(stub: Any, request_id: str, **changes: Any) -> pb.Schedule:  # noqa: ANN401  # generated
    """Make a schedule and return it."""
    found: pb.Schedule = stub.CreateSchedule(creating(request_id, **changes)).schedule
    return found


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_no_more_than_so_many_schedules(
    grpc_stub_as: StubAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SCHEDULES_MAX", 0)
    make(grpc_stub_as, Call("CreateSchedule", creating("full"), reason="SCHEDULES_EXCEEDED"))


def test_a_bundle_that_cannot_be_executed_is_refused(grpc_stub_as: StubAs, world: World) -> None:
    forged = world.signer.seal(payload(lambda content: content.update(format="x")))
    world.bundles.bundles[forged.name] = forged
    request = creating("forged", bundle=forged.name)
    make(grpc_stub_as, Call("CreateSchedule", request, reason="BUNDLE_INVALID"))


def test_a_schedule_fires_and_its_run_is_there(grpc_stub_as: StubAs, world: World) -> None:
    stub = grpc_stub_as("operator")
    schedule = created(stub, "fires", input='{"at": "{{time}}"}')
    assert schedule.next_time.ToDatetime() == START.replace(tzinfo=None) + timedelta(minutes=1)
    world.clock.advance(60)
    # Whatever changes a schedule lets the clerk look.
    stub.UpdateSchedule(pb.UpdateScheduleRequest(name=schedule.name))
    (firing,) = wait_for_firings(stub, schedule.name)
    assert firing.state == pb.Firing.STATE_STARTED
    assert firing.name == f"{schedule.name}/firings/1"
    assert firing.run.startswith("runs/")
    world.clock.advance(-60)


def wait_for_firings(stub: Any, schedule: str) -> list[pb.Firing]:  # noqa: ANN401  # generated
    """Return the firings once they have started."""
    while True:
        found = list(stub.ListFirings(pb.ListFiringsRequest(schedule=schedule)).firings)
        if found and all(one.state == pb.Firing.STATE_STARTED for one in found):
            return found


def test_what_is_asked_for_is_read_as_it_was(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("operator")
    cron = pb.CronTrigger(expression="0 9 * * MON-FRI", timezone="Europe/Berlin")
    made = created(
        stub,
        "read",
        cron=cron,
        missed_policy=pb.MISSED_POLICY_ALL,
        missed_max=3,
        overlap_policy=pb.OVERLAP_POLICY_CANCEL,
        jitter_seconds=30,
        dry_run=True,
    )
    read = stub.GetSchedule(pb.GetScheduleRequest(name=made.name)).schedule
    assert read == made
    assert (read.cron, read.missed_policy, read.missed_max) == (cron, pb.MISSED_POLICY_ALL, 3)
    assert (read.overlap_policy, read.overlap_max) == (pb.OVERLAP_POLICY_CANCEL, 1)
    assert (read.jitter_seconds, read.dry_run, read.bundle) == (30, True, BUNDLE)
    assert read in stub.ListSchedules(pb.ListSchedulesRequest()).schedules


def test_a_schedule_is_paused_and_resumed(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("operator")
    name = created(stub, "paused", paused=True).name

    def update(**changes: Any) -> pb.Schedule:  # noqa: ANN401  # fields of the message
        found: pb.Schedule = stub.UpdateSchedule(
            pb.UpdateScheduleRequest(name=name, **changes)
        ).schedule
        return found

    assert not update().HasField("next_time")
    assert update(paused=False).HasField("next_time")
    assert update(bundle=BUNDLE).HasField("next_time")
    assert update(paused=True).paused
    other = pb.UpdateScheduleRequest(name=name, bundle=f"bundles/{64 * '0'}")
    make(grpc_stub_as, Call("UpdateSchedule", other, reason="BUNDLE_NOT_FOUND"))


def test_a_deleted_schedule_is_gone(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("operator")
    name = created(stub, "deleted").name
    stub.DeleteSchedule(pb.DeleteScheduleRequest(name=name))
    request = pb.GetScheduleRequest(name=name)
    make(grpc_stub_as, Call("GetSchedule", request, reason="SCHEDULE_NOT_FOUND"))


def test_pages_hold_every_schedule_once(grpc_stub_as: StubAs) -> None:
    stub = grpc_stub_as("operator")
    for number in range(3):
        created(stub, f"page{number}")
    names, token = list[str](), ""
    while token or not names:
        page = stub.ListSchedules(pb.ListSchedulesRequest(page_size=2, page_token=token))
        names += [one.name for one in page.schedules]
        token = page.next_page_token
    whole = stub.ListSchedules(pb.ListSchedulesRequest()).schedules
    assert names == [one.name for one in whole] == sorted(set(names))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bundle": ""}, "schedule.bundle"),
        ({"bundle": "bundles/../x"}, "schedule.bundle"),
        ({"interval": None}, "schedule.trigger"),
        ({"interval": pb.IntervalTrigger(seconds=9)}, "schedule.interval.seconds"),
        ({"interval": pb.IntervalTrigger(seconds=2**62)}, "schedule.interval.seconds"),
        ({"cron": pb.CronTrigger()}, "schedule.cron.expression"),
        ({"cron": pb.CronTrigger(expression="0 0 30 2 *")}, "schedule.cron.expression"),
        (
            {"cron": pb.CronTrigger(expression="@daily", timezone="Mars/Base")},
            "schedule.cron.timezone",
        ),
        (
            {"cron": pb.CronTrigger(expression="@daily", timezone="../../etc/passwd")},
            "schedule.cron.timezone",
        ),
        ({"at": START}, "schedule.at"),
        ({"at": START.replace(year=2999)}, "schedule.at"),
        ({"document": pb.DocumentTrigger(collection="news")}, "schedule.document.collection"),
        ({"message": pb.MessageTrigger(senders=["x"])}, "schedule.message.senders[0]"),
        ({"message": pb.MessageTrigger(senders=["agents/a"] * 17)}, "schedule.message.senders"),
        ({"input": "{"}, "schedule.input"),
        ({"input": '"{{event}}"'}, "schedule.input"),
        ({"input": f'"{"a" * 16_384}"'}, "schedule.input"),
        ({"missed_policy": 99}, "schedule.missed_policy"),
        ({"missed_max": 101}, "schedule.missed_max"),
        ({"missed_max": -1}, "schedule.missed_max"),
        ({"overlap_policy": 99}, "schedule.overlap_policy"),
        ({"overlap_max": 101}, "schedule.overlap_max"),
        ({"jitter_seconds": 3_601}, "schedule.jitter_seconds"),
        ({"end_time": START}, "schedule.end_time"),
        ({"end_time": START + timedelta(seconds=30)}, "schedule"),
        (
            {"start_time": START + timedelta(2), "end_time": START + timedelta(1)},
            "schedule.end_time",
        ),
    ],
)
def test_what_is_malformed_is_refused_by_its_field(
    grpc_stub_as: StubAs, changes: dict[str, Any], field: str
) -> None:
    triggers = {"cron", "at", "document", "message"}
    if triggers & changes.keys():
        changes = {**changes, "interval": None}
    stub = grpc_stub_as("operator")
    assert refused_field(lambda: stub.CreateSchedule(creating(**changes))) == field
