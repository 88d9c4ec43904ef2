"""Tests of pause, resume, signal and fork against fakes."""

from __future__ import annotations

import json

import pytest

from actionvm.runtime.v1 import runtime_pb2

from .conftest import FakeSystem, Invoke
from .fakes import FORK, RUN


@pytest.fixture(autouse=True)
def _open(system: FakeSystem) -> None:
    system.runtime.run.state = runtime_pb2.Run.STATE_RUNNING


@pytest.mark.parametrize(
    ("command", "request_type", "told"),
    [
        ("pause", runtime_pb2.PauseRunRequest, f"go on: actionvm resume {RUN}"),
        ("resume", runtime_pb2.ResumeRunRequest, f"see it: actionvm watch {RUN}"),
    ],
)
def test_a_run_is_told_and_the_next_command_named(
    system: FakeSystem, invoke: Invoke, command: str, request_type: type, told: str
) -> None:
    assert told in " ".join(invoke(command, RUN).stdout.split())
    assert [type(one) for one in system.runtime.steered] == [request_type]


def test_a_run_that_has_ended_is_said_to_have(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.run.state = runtime_pb2.Run.STATE_SUCCEEDED
    assert "has ended: succeeded" in invoke("pause", RUN).stdout


@pytest.mark.parametrize(
    ("given", "sent"),
    [((), "null"), (("--payload", '{"a": 1}'), '{"a": 1}'), (("--payload", "yes"), '"yes"')],
)
def test_a_signal_carries_json(
    system: FakeSystem, invoke: Invoke, given: tuple[str, ...], sent: str
) -> None:
    assert invoke("signal", RUN, "go", *given).exit_code == 0
    [request] = system.runtime.steered
    assert isinstance(request, runtime_pb2.SignalRunRequest)
    assert (request.signal, request.payload) == ("go", sent)


def test_a_payload_that_is_broken_json_is_refused(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("signal", RUN, "go", "--payload", "{")
    assert (result.exit_code, system.runtime.steered) == (2, [])
    assert "--payload" in result.stderr


def test_a_fork_is_named_with_its_origin(system: FakeSystem, invoke: Invoke) -> None:
    shown = json.loads(invoke("fork", RUN, "--after", "4", "--json").stdout)
    assert (shown["name"], shown["origin"]) == (FORK, RUN)
    [request] = system.runtime.steered
    assert isinstance(request, runtime_pb2.ForkRunRequest)
    assert request.sequence == 4


def test_a_word_that_is_no_run_is_refused(system: FakeSystem, invoke: Invoke) -> None:
    assert "nobody is not the name of a run" in invoke("pause", "nobody").stderr
    assert system.runtime.steered == []
