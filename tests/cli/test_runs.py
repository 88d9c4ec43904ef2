"""Tests of run, runs, show, watch and cancel against fakes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.errors import PeerUnavailable
from cli.commands.agents import write_bundle
from cli.home import Home

from .conftest import FakeSystem, Invoke
from .fakes import BUNDLE, RUN, InvalidManifest, make_events

CALLER = "runs/11111111-2222-4333-8444-555555555555"


def documents(output: str) -> list[dict[str, dict[str, object]]]:
    """Return the JSON documents of an output, one per line."""
    return [json.loads(line) for line in output.splitlines()]


def test_a_run_that_succeeds_exits_with_0(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    assert invoke("run", str(manifest)).exit_code == 0


def test_a_run_shows_its_answer(system: FakeSystem, invoke: Invoke, manifest: Path) -> None:
    assert "all is well" in invoke("run", str(manifest)).stdout


def test_a_run_shows_a_verified_receipt(system: FakeSystem, invoke: Invoke, manifest: Path) -> None:
    assert "✓ signature verified" in invoke("run", str(manifest)).stdout


def test_a_receipt_of_another_key_is_called_out(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.keymanager.public_key = b"k" * 32

    assert "✗ not verified" in invoke("run", str(manifest)).stdout


@pytest.mark.parametrize("state", [runtime_pb2.Run.STATE_FAILED, runtime_pb2.Run.STATE_CANCELLED])
def test_a_run_that_does_not_succeed_exits_with_1(
    system: FakeSystem,
    invoke: Invoke,
    manifest: Path,
    state: runtime_pb2.Run.State.ValueType,
) -> None:
    system.runtime.events = make_events(state)

    assert invoke("run", str(manifest)).exit_code == 1


def test_a_failed_run_says_why(system: FakeSystem, invoke: Invoke, manifest: Path) -> None:
    system.runtime.events = make_events(runtime_pb2.Run.STATE_FAILED)

    assert "STEPS_EXCEEDED: raise limits.steps" in invoke("run", str(manifest)).stdout


def test_a_run_in_json_is_one_document_per_line_with_one_key(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    found = documents(invoke("run", str(manifest), "--json").stdout)

    kinds = [key for document in found for key in document]
    assert kinds == ["progress", "assembly", "run", *["event"] * 5, "end"]


def test_the_end_of_a_run_in_json_says_whether_the_receipt_is_genuine(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    end = documents(invoke("run", str(manifest), "--json").stdout)[-1]["end"]

    assert (end["run"], end["receipt_verified"]) == (RUN, True)


def test_settings_travel_as_a_json_object(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    invoke("run", str(manifest), "--set", "url=http://a/?b=c", "--set", "steps=3")

    parameters = json.loads(system.assembler.requests[0].parameters)
    assert parameters == {"url": "http://a/?b=c", "steps": 3}


def test_a_digest_runs_without_assembling(system: FakeSystem, invoke: Invoke) -> None:
    invoke("run", "ab" * 32)

    assert system.runtime.starts[0].bundle_name == BUNDLE


def test_a_bundle_file_travels_as_it_is(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    bundle = action_pb2.Bundle(name=BUNDLE, payload=b"\x00\xff")
    write_bundle(tmp_path / "agent.json", bundle)

    invoke("run", str(tmp_path / "agent.json"))

    assert system.runtime.starts[0].bundle == bundle


def test_a_lost_answer_to_a_start_is_asked_for_with_the_same_id(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.runtime.start_failures = [PeerUnavailable("assembler"), PeerUnavailable("assembler")]

    invoke("run", str(manifest))

    ids = [start.request_id for start in system.runtime.starts]
    assert len(ids) > 1
    assert len(set(ids)) == 1


def test_an_assembly_that_breaks_off_is_repeated_without_repeating_its_progress(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.assembler.failures = [PeerUnavailable("linker")]

    found = documents(invoke("assemble", str(manifest), "--json").stdout)

    assert [key for document in found for key in document] == ["progress", "assembly"]


def test_a_stream_that_breaks_off_is_resumed_after_its_last_event(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.runtime.breaks = [2, 4]

    found = documents(invoke("watch", RUN, "--json").stdout)

    assert system.runtime.watches == [0, 2, 4]
    sequences = [document["event"]["sequence"] for document in found if "event" in document]
    assert sequences == [1, 2, 3, 4, 5]


def test_ctrl_c_detaches_and_says_how_to_come_back(
    home: Home, system: FakeSystem, start_command: Callable[..., Popen[str]]
) -> None:
    system.runtime.events = make_events()[:2]
    system.runtime.hangs = True
    process = start_command("watch", RUN)
    assert process.stdout is not None
    first = process.stdout.readline() + process.stdout.readline()
    process.send_signal(signal.SIGINT)

    rest, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "board.post" in first
    assert f"actionvm --home {home.folder} watch {RUN}" in rest
    assert f"actionvm --home {home.folder} cancel {RUN}" in rest


def test_ctrl_c_in_the_demo_cancels_the_run_because_its_board_ends(
    system: FakeSystem, start_command: Callable[..., Popen[str]]
) -> None:
    system.runtime.events = make_events()[:2]
    system.runtime.hangs = True
    process = start_command("demo")
    assert process.stdout is not None
    while "board.post" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)

    process.communicate(timeout=20)

    assert process.returncode == 130
    assert system.runtime.cancels == [RUN]


def test_control_characters_of_a_model_do_not_reach_the_terminal(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.runtime.events[-1].finished.answer = "safe\x1b[2Jtext"

    output = invoke("watch", RUN).stdout

    assert "safe" in output
    assert "\x1b" not in output


def test_an_unknown_run_exits_with_2_and_its_reason(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("show", RUN.replace("3f", "4f"))

    assert result.exit_code == 2
    assert "RUN_NOT_FOUND" in result.stderr


def test_what_cannot_be_a_run_is_refused_before_it_travels(
    system: FakeSystem, invoke: Invoke
) -> None:
    result = invoke("watch", "runs/../etc")

    assert result.exit_code == 2
    assert re.search(r"actionvm --home \S+ runs", result.stderr)


def test_show_gives_one_document(system: FakeSystem, invoke: Invoke) -> None:
    found = json.loads(invoke("show", RUN, "--json").stdout)

    assert found["run"]["name"] == RUN
    assert found["receipt"]["total_gas"] == 7
    assert found["receipt_verified"] is True


def test_a_run_may_be_named_without_its_prefix(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("show", RUN.removeprefix("runs/")).exit_code == 0


def test_runs_lists_them(system: FakeSystem, invoke: Invoke) -> None:
    found = json.loads(invoke("runs", "--json").stdout)

    assert [run["name"] for run in found["runs"]] == [RUN]


def test_runs_says_for_which_run_an_agent_answers(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.run.account, system.runtime.run.parent = "agents/translator", CALLER

    assert "translator for 11111111" in invoke("runs").stdout


def test_show_names_the_run_that_asked(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.run.parent = CALLER

    assert CALLER in invoke("show", RUN).stdout


def test_a_run_shows_which_run_answers_its_call(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    sent = runtime_pb2.EffectSent(call_id="c1", run=CALLER)
    system.runtime.events.insert(3, runtime_pb2.WatchRunResponse(sequence=4, sent=sent))

    assert f"c1 is answered by {CALLER}" in invoke("run", str(manifest)).stdout


APPROVAL = "approvals/0198c0de-0000-7000-8000-000000000000"


def test_a_run_that_waits_for_a_person_says_how_to_decide(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    awaited = runtime_pb2.ApprovalAwaited(approval=APPROVAL)
    system.runtime.events.insert(3, runtime_pb2.WatchRunResponse(sequence=4, awaited=awaited))

    told = "actionvm approvals approve 0198c0de-0000-7000-8000-000000000000"
    assert told in " ".join(invoke("run", str(manifest)).stdout.split())


def test_a_run_that_waits_for_a_person_is_shown_as_waiting(
    system: FakeSystem, invoke: Invoke
) -> None:
    system.runtime.run.approval = APPROVAL

    assert "waiting" in invoke("runs").stdout
    assert APPROVAL in invoke("show", RUN).stdout


def test_cancelling_a_run_that_ended_says_so(system: FakeSystem, invoke: Invoke) -> None:
    assert "has ended: succeeded" in invoke("cancel", RUN).stdout


def test_problems_of_a_manifest_are_lines_with_their_place(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.assembler.failures = [InvalidManifest()]

    result = invoke("run", str(manifest))

    line = (
        "agent.yaml:3:5: error UNKNOWN_FIELD spec.modle: unknown field 'modle' "
        "(did you mean 'model'?)"
    )
    assert result.exit_code == 2
    assert line in result.stderr.splitlines()


def test_problems_of_a_manifest_in_json_keep_their_fields(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.assembler.failures = [InvalidManifest()]

    error = documents(invoke("run", str(manifest), "--json").stdout)[-1]["error"]

    assert error["reason"] == "INVALID_MANIFEST"
    assert error["problems"] == [
        {
            "severity": "error",
            "code": "UNKNOWN_FIELD",
            "file": "agent.yaml",
            "line": 3,
            "column": 5,
            "field": "spec.modle",
            "message": "unknown field 'modle'",
            "fix": "did you mean 'model'?",
        }
    ]
