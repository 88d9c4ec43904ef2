"""Tests of effects against a fake."""

from __future__ import annotations

import json

from actionvm.runtime.v1 import runtime_pb2

from .conftest import FakeSystem, Invoke
from .fakes import RUN


def test_effects_are_a_table_with_their_reasons(system: FakeSystem, invoke: Invoke) -> None:
    shown = " ".join(invoke("effects").stdout.split())
    assert "board.post" in shown
    assert "failed: POST_REFUSED" in shown
    assert system.runtime.effects[0].attempts == 2


def test_a_run_and_a_state_are_asked_for(system: FakeSystem, invoke: Invoke) -> None:
    found = json.loads(invoke("effects", RUN, "--state", "unknown", "--json").stdout)
    [request] = system.runtime.steered
    assert isinstance(request, runtime_pb2.ListEffectsRequest)
    assert (request.run, request.state) == (RUN, runtime_pb2.Effect.STATE_UNKNOWN)
    assert found["effects"][0]["call_id"] == "step-1-1"


def test_where_nothing_was_sent_it_says_so(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.effects = []
    assert "nothing was sent so far" in invoke("effects").stdout
