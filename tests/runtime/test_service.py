"""The runtime over real gRPC: what goes in, what comes out, and every reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from chassis.errors import PeerUnavailable
from runtime.service import INPUT_BYTES_MAX
from tests.contracts.contract import bad_request, error_info
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.runtime.hosting import OPEN_RUN, WAIT, bundle_to_proto, hosting
from tests.runtime.offices import agent, asking, delegates
from tests.runtime.worlds import POST, RUN, World

UNKNOWN_RUN = RUN.replace("0001", "9999")
Run = runtime_pb2.Run
Stub: TypeAlias = Any


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="module")
def hosted_service(world: World) -> HostedFactory:
    return hosting(world)


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Callable[[grpc.Channel], Any]:
    return runtime_pb2_grpc.RuntimeServiceStub


def _start(world: World, request_id: str, /, **change: Any) -> runtime_pb2.StartRunRequest:  # noqa: ANN401  # fields of the message
    request = {"request_id": request_id, "bundle": bundle_to_proto(world.seal()), **change}
    return runtime_pb2.StartRunRequest(**{k: v for k, v in request.items() if v is not None})


def _watch(stub: Stub, name: str, after: int = 0) -> list[runtime_pb2.WatchRunResponse]:
    request = runtime_pb2.WatchRunRequest(name=name, after_sequence=after)
    return [*stub.WatchRun(request, timeout=20)]


def _reason(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_info(caught.value).reason


def _field(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    [field] = bad_request(caught.value)
    return field


def test_a_started_run_can_be_watched_to_its_end(grpc_stub: Stub, world: World) -> None:
    started = grpc_stub.StartRun(_start(world, "watched")).run
    events = _watch(grpc_stub, started.name)
    assert [event.sequence for event in events if event.sequence] == list(range(1, 10))
    assert events[-1].finished.state == Run.STATE_SUCCEEDED
    assert events[-1].finished.receipt.signature.key == "keys/receipts"


def test_a_run_answers_before_it_has_taken_a_step(grpc_stub: Stub, world: World) -> None:
    started = grpc_stub.StartRun(_start(world, "pending", input='"hi"', dry_run=True)).run
    assert (started.state, started.input, started.dry_run) == (Run.STATE_PENDING, '"hi"', True)
    assert started.account == "agents/market-brief"


def test_a_bundle_may_be_named(grpc_stub: Stub, world: World) -> None:
    name = world.seal().name
    request = runtime_pb2.StartRunRequest(request_id="named", bundle_name=name)
    assert grpc_stub.StartRun(request).run.bundle == name


def test_starting_twice_gives_the_same_run(grpc_stub: Stub, world: World) -> None:
    first, second = (grpc_stub.StartRun(_start(world, "twice")).run for _ in range(2))
    assert first.name == second.name


def test_every_kind_of_event_reaches_the_watcher(grpc_stub: Stub) -> None:
    kinds = [event.WhichOneof("event") for event in _watch(grpc_stub, RUN)]
    assert kinds == [
        "started",
        "retrieved",
        "generated",
        "decided",
        "sent",
        "acted",
        "generated",
        "ending",
        "finished",
    ]


def test_a_watcher_goes_on_where_it_stopped(grpc_stub: Stub) -> None:
    assert [event.sequence for event in _watch(grpc_stub, RUN, after=6)] == [7, 8, 9]


def test_a_run_is_read_as_it_ended(grpc_stub: Stub) -> None:
    run = grpc_stub.GetRun(runtime_pb2.GetRunRequest(name=RUN)).run
    assert (run.state, run.answer, run.step_count) == (Run.STATE_SUCCEEDED, "I posted it.", 2)
    assert run.HasField("end_time")
    assert not run.HasField("failure")


def test_an_open_run_has_no_end_time(grpc_stub: Stub) -> None:
    run = grpc_stub.GetRun(runtime_pb2.GetRunRequest(name=OPEN_RUN)).run
    assert not run.HasField("end_time")


def test_runs_are_listed_page_by_page(grpc_stub: Stub) -> None:
    names, token = [], ""
    while True:
        page = grpc_stub.ListRuns(runtime_pb2.ListRunsRequest(page_size=1, page_token=token))
        names += [run.name for run in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert names[-2:] == [OPEN_RUN, RUN]
    assert len(names) == len(set(names))


def test_the_receipt_of_a_run_is_itemised(grpc_stub: Stub) -> None:
    receipt = grpc_stub.GetReceipt(runtime_pb2.GetReceiptRequest(run=RUN)).receipt
    assert [charge.item for charge in receipt.charges] == ["action board.post"]


def test_cancelling_ends_a_run(grpc_stub: Stub, world: World) -> None:
    run = grpc_stub.StartRun(_start(world, "cancelled", input=WAIT)).run
    grpc_stub.CancelRun(runtime_pb2.CancelRunRequest(name=run.name))
    end = _watch(grpc_stub, run.name)[-1].finished
    assert end.state == Run.STATE_CANCELLED
    assert end.receipt.run == run.name


def test_a_call_of_an_agent_can_be_followed_from_run_to_run(
    grpc_stub: Stub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.model, "answers", delegates)
    clerk = world.seal(agent("clerk", POST))
    boss = bundle_to_proto(world.seal(agent("boss", asking(clerk))))
    asked = grpc_stub.StartRun(runtime_pb2.StartRunRequest(request_id="asks", bundle=boss)).run
    events = _watch(grpc_stub, asked.name)
    [sent] = [event.sent for event in events if event.HasField("sent")]
    answering = grpc_stub.GetRun(runtime_pb2.GetRunRequest(name=sent.run)).run
    started = _watch(grpc_stub, sent.run)[0].started

    assert events[-1].finished.answer == 'I was told {"answer":"It is posted."}'
    assert (answering.parent, [*answering.callers]) == (asked.name, ["agents/boss"])
    assert (started.parent, [*started.callers]) == (asked.name, ["agents/boss"])
    assert not asked.parent


def test_the_assembler_may_list_actions(grpc_stub_as: StubAs, world: World) -> None:
    actions = grpc_stub_as("assembler").ListActions(runtime_pb2.ListActionsRequest()).actions
    assert [entry.action.name for entry in actions] == sorted(world.stage().connectors)
    without = {one.action.name for one in actions if not one.needs_credential}
    web = {"web.feed", "web.get", "web.page", "web.send"}
    evm = {"evm.balance", "evm.logs", "evm.read", "evm.receipt"}
    assert without == {"knowledge.search", "llm.ask", "run.sleep", "run.wait", *web, *evm}
    assert json.loads(actions[0].settings_schema)["required"] == ["url"]
    assert json.loads(actions[0].output_schema)["required"] == ["posted", "id"]


@pytest.mark.parametrize("caller", ["assembler", "linker", "keymanager", "knowledge", "gas"])
def test_services_may_not_start_runs(grpc_stub_as: StubAs, world: World, caller: str) -> None:
    stub = grpc_stub_as(caller)
    assert _reason(lambda: stub.StartRun(_start(world, "denied"))) == "METHOD_DENIED"


# --- Refusals ------------------------------------------------------------------------------------


def test_a_tampered_bundle_is_refused(grpc_stub: Stub, world: World) -> None:
    request = _start(world, "tampered")
    request.bundle.payload = request.bundle.payload.replace(b"50000", b"90000")
    assert _reason(lambda: grpc_stub.StartRun(request)) == "BUNDLE_INVALID"


def test_an_unknown_bundle_is_not_found(grpc_stub: Stub) -> None:
    request = runtime_pb2.StartRunRequest(request_id="a", bundle_name=f"bundles/{64 * '0'}")
    assert _reason(lambda: grpc_stub.StartRun(request)) == "BUNDLE_NOT_FOUND"


def test_a_reused_request_id_is_refused(grpc_stub: Stub, world: World) -> None:
    grpc_stub.StartRun(_start(world, "reused"))
    other = _start(world, "reused", input="1")
    assert _reason(lambda: grpc_stub.StartRun(other)) == "REQUEST_ID_REUSED"


def test_too_many_open_runs_are_refused(
    grpc_stub: Stub,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.journal.port.OPEN_RUNS_MAX", 1)
    assert _reason(lambda: grpc_stub.StartRun(_start(world, "many"))) == "RUNS_EXCEEDED"


@pytest.mark.parametrize("port", ["bundles", "signer"])
def test_a_peer_that_is_down_refuses_a_start(grpc_stub: Stub, world: World, port: str) -> None:
    # What other tests have started wants the same peers, and would be refused instead.
    for run in grpc_stub.ListRuns(runtime_pb2.ListRunsRequest()).runs:
        if run.name != OPEN_RUN:
            _watch(grpc_stub, run.name)
    getattr(world, port).fail_next(PeerUnavailable("peer"))
    request = runtime_pb2.StartRunRequest(request_id="down", bundle_name=world.seal().name)
    assert _reason(lambda: grpc_stub.StartRun(request)) == "PEER_UNAVAILABLE"


def test_an_unknown_run_is_not_found(grpc_stub: Stub) -> None:
    calls = [
        lambda: grpc_stub.GetRun(runtime_pb2.GetRunRequest(name=UNKNOWN_RUN)),
        lambda: grpc_stub.CancelRun(runtime_pb2.CancelRunRequest(name=UNKNOWN_RUN)),
        lambda: grpc_stub.GetReceipt(runtime_pb2.GetReceiptRequest(run=UNKNOWN_RUN)),
        lambda: _watch(grpc_stub, UNKNOWN_RUN),
    ]
    assert [_reason(call) for call in calls] == 4 * ["RUN_NOT_FOUND"]


def test_an_open_run_has_no_receipt(grpc_stub: Stub) -> None:
    request = runtime_pb2.GetReceiptRequest(run=OPEN_RUN)
    assert _reason(lambda: grpc_stub.GetReceipt(request)) == "RUN_UNFINISHED"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a" * 129}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"bundle": None}, "program"),
        ({"bundle": None, "bundle_name": "bundles/../x"}, "bundle_name"),
        ({"input": "{"}, "input"),
        ({"input": "NaN"}, "input"),
        ({"input": '"\\ud800"'}, "input"),
        ({"input": "1e999"}, "input"),
        ({"input": "[" * 60_000}, "input"),
        ({"input": "9" * 60_000}, "input"),
        ({"input": json.dumps("a" * INPUT_BYTES_MAX)}, "input"),
    ],
)
def test_a_malformed_start_names_its_field(
    grpc_stub: Stub,
    world: World,
    change: dict[str, Any],
    field: str,
) -> None:
    request = _start(world, "malformed", **change)
    assert _field(lambda: grpc_stub.StartRun(request)) == field


@pytest.mark.parametrize("name", ["", "runs/1", "run/" + RUN, RUN + "\n", RUN.upper(), "../" + RUN])
def test_a_malformed_name_is_refused(grpc_stub: Stub, name: str) -> None:
    assert _field(lambda: grpc_stub.GetRun(runtime_pb2.GetRunRequest(name=name))) == "name"


def test_a_negative_sequence_is_refused(grpc_stub: Stub) -> None:
    assert _field(lambda: _watch(grpc_stub, RUN, after=-1)) == "after_sequence"


@pytest.mark.parametrize("token", ["x", "WyJhIl0=", "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Il0=", "W10="])
def test_a_page_token_of_somebody_else_is_refused(grpc_stub: Stub, token: str) -> None:
    request = runtime_pb2.ListRunsRequest(page_token=token)
    assert _field(lambda: grpc_stub.ListRuns(request)) == "page_token"


def test_a_negative_page_is_refused(grpc_stub: Stub) -> None:
    request = runtime_pb2.ListRunsRequest(page_size=-1)
    assert _field(lambda: grpc_stub.ListRuns(request)) == "page_size"


def _parsed(content: bytes) -> runtime_pb2.StartRunRequest:
    """Return a request with a bundle of these bytes, in whichever field they fit."""
    bundle = action_pb2.Bundle(payload=content)
    with suppress(DecodeError):
        bundle.MergeFromString(content)
    return runtime_pb2.StartRunRequest(request_id="fuzzed", bundle=bundle)


@settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    request_=st.builds(
        runtime_pb2.StartRunRequest,
        request_id=st.text(max_size=5),
        bundle_name=st.none() | st.text(max_size=8),
        input=st.text(max_size=8),
    )
    | st.binary(max_size=20).map(_parsed)
)
def test_no_start_breaks_the_service(
    grpc_stub: Stub, request_: runtime_pb2.StartRunRequest
) -> None:
    assert _reason(lambda: grpc_stub.StartRun(request_)) in {"INVALID_FIELD", "BUNDLE_INVALID"}
