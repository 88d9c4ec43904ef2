"""The commands of schedules against a fake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import schedules_pb2 as pb
from cli.commands.agents import write_bundle

from .conftest import FakeSystem, Invoke
from .fake_schedules import SCHEDULE
from .fakes import BUNDLE, RUN

DIGEST = "ab" * 32


def asked(system: FakeSystem, invoke: Invoke, *options: str) -> pb.Schedule:
    """Return what is asked for when a schedule is created with these options."""
    result = invoke("schedules", "create", DIGEST, *options)
    assert result.exit_code == 0, result.stderr
    return system.schedules.created[-1]


def test_a_calendar_is_in_its_time_zone(system: FakeSystem, invoke: Invoke) -> None:
    found = asked(system, invoke, "--cron", "0 9 * * MON", "--zone", "Europe/Berlin")
    assert found.bundle == BUNDLE
    assert found.cron == pb.CronTrigger(expression="0 9 * * MON", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("options", "trigger"),
    [
        (("--every", "90m"), pb.Schedule(interval=pb.IntervalTrigger(seconds=5_400))),
        (("--webhook",), pb.Schedule(webhook=pb.WebhookTrigger())),
        (
            ("--collection", "news"),
            pb.Schedule(document=pb.DocumentTrigger(collection="collections/news")),
        ),
        (("--messages",), pb.Schedule(message=pb.MessageTrigger())),
        (("--from", "clerk"), pb.Schedule(message=pb.MessageTrigger(senders=["agents/clerk"]))),
    ],
)
def test_there_is_an_option_for_each_trigger(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...], trigger: pb.Schedule
) -> None:
    found = asked(system, invoke, *options)
    kind = trigger.WhichOneof("trigger")
    assert kind is not None
    assert found.WhichOneof("trigger") == kind
    assert getattr(found, kind) == getattr(trigger, kind)


def test_a_moment_is_in_the_time_zone_that_is_given(system: FakeSystem, invoke: Invoke) -> None:
    found = asked(system, invoke, "--at", "2026-12-24T18:00", "--zone", "Europe/Berlin")
    assert found.at.ToJsonString() == "2026-12-24T17:00:00Z"


def test_policies_travel(system: FakeSystem, invoke: Invoke) -> None:
    options = [
        "--every",
        "1h",
        "--missed",
        "all",
        "--missed-max",
        "3",
        "--overlap",
        "allow",
        "--overlap-max",
        "4",
    ]
    options += [
        "--jitter",
        "5m",
        "--start",
        "2027-01-01",
        "--end",
        "2027-02-01",
        "--paused",
        "--dry-run",
    ]
    found = asked(system, invoke, *options)
    assert (found.missed_policy, found.missed_max) == (pb.MISSED_POLICY_ALL, 3)
    assert (found.overlap_policy, found.overlap_max) == (pb.OVERLAP_POLICY_ALLOW, 4)
    assert (found.jitter_seconds, found.paused, found.dry_run) == (300, True, True)
    assert found.start_time.ToJsonString() == "2027-01-01T00:00:00Z"
    assert found.end_time.ToJsonString() == "2027-02-01T00:00:00Z"


def test_the_shortest_times_of_the_contract_can_be_said(system: FakeSystem, invoke: Invoke) -> None:
    found = asked(system, invoke, "--every", "10s", "--jitter", "5s")
    assert (found.interval.seconds, found.jitter_seconds) == (10, 5)


def test_an_input_is_a_template(system: FakeSystem, invoke: Invoke) -> None:
    found = asked(system, invoke, "--every", "1h", "--input", "Report of {{time}}")
    assert found.input == '"Report of {{time}}"'


def test_a_manifest_is_assembled_first(system: FakeSystem, invoke: Invoke, manifest: Path) -> None:
    assert invoke("schedules", "create", str(manifest), "--every", "1h").exit_code == 0
    assert system.schedules.created[0].bundle == BUNDLE
    assert system.assembler.requests


def test_a_bundle_file_is_known_by_its_name(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "agent.bundle", action_pb2.Bundle(name=BUNDLE, payload=b"x"))
    invoke("schedules", "create", str(tmp_path / "agent.bundle"), "--every", "1h")
    assert system.schedules.created[0].bundle == BUNDLE


@pytest.mark.parametrize("options", [(), ("--every", "1h", "--webhook")])
def test_there_is_exactly_one_trigger(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...]
) -> None:
    result = invoke("schedules", "create", DIGEST, *options)
    assert result.exit_code == 2
    assert "trigger" in result.stderr
    assert system.schedules.created == []


def test_a_secret_is_shown_once_with_the_url(system: FakeSystem, invoke: Invoke) -> None:
    system.schedules.secret = "whsec_x"
    system.schedules.schedule.webhook.SetInParent()
    system.schedules.schedule.webhook_url = "http://127.0.0.1:1/hooks/x"
    shown = invoke("schedules", "create", DIGEST, "--webhook").stdout
    assert "whsec_x" in shown
    assert "http://127.0.0.1:1/hooks/x" in shown
    assert "whsec_x" not in invoke("schedules", "show", SCHEDULE).stdout


def test_the_list_says_what_each_waits_for_and_when_it_is_due(
    system: FakeSystem, invoke: Invoke
) -> None:
    shown = invoke("schedules", "list").stdout
    assert SCHEDULE.removeprefix("schedules/") in shown
    assert "0 9 * * * UTC" in shown
    assert "2027-01-15 08:00:00 UTC" in shown


def test_a_schedule_is_shown_whole(system: FakeSystem, invoke: Invoke) -> None:
    system.schedules.schedule.problem = "collections/x does not exist"
    shown = invoke("schedules", "show", SCHEDULE).stdout
    for text in (SCHEDULE, BUNDLE, "missed once, overlap queue (1)", "collections/x does not"):
        assert text in shown


def test_firings_say_what_they_started_and_why_not(system: FakeSystem, invoke: Invoke) -> None:
    shown = invoke("schedules", "firings", SCHEDULE).stdout
    assert RUN.removeprefix("runs/") in shown
    assert "MISSED: nobody was there" in shown
    assert "MISSED" not in invoke("schedules", "firings", SCHEDULE, "--limit", "1").stdout


def test_pause_resume_and_another_bundle(system: FakeSystem, invoke: Invoke) -> None:
    assert "paused" in invoke("schedules", "pause", SCHEDULE).stdout
    invoke("schedules", "resume", SCHEDULE)
    invoke("schedules", "update", SCHEDULE, DIGEST)
    paused, resumed, changed = system.schedules.updates
    assert (paused.paused, paused.bundle) == (True, "")
    assert (resumed.HasField("paused"), resumed.paused) == (True, False)
    assert (changed.HasField("paused"), changed.bundle) == (False, BUNDLE)


def test_delete_says_what_is_gone(system: FakeSystem, invoke: Invoke) -> None:
    short = SCHEDULE.removeprefix("schedules/")
    shown = invoke("schedules", "delete", short, "--json").stdout
    assert json.loads(shown) == {"deleted": SCHEDULE}
    assert system.schedules.deleted == [SCHEDULE]


def test_what_is_no_name_is_refused_here(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("schedules", "delete", "nightly")
    assert result.exit_code == 2
    assert "schedules list" in result.stderr
