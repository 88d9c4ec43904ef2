"""The contract of the runtime: every RPC is called, every reason is provoked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2 as pb
from actionvm.runtime.v1 import runtime_pb2_grpc
from chassis.canonical import sha256_hex
from tests.contracts.contract import Call, make
from tests.fakes.runtime_ports import FakeSigner
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.runtime.hosting import APPROVAL, ASKING_RUN, OPEN_RUN, bundle_to_proto, hosting
from tests.runtime.worlds import RUN, World, payload

BUNDLE = bundle_to_proto(FakeSigner().seal(payload()))
FORGED = bundle_to_proto(FakeSigner().seal(payload()))
FORGED.signature.value = bytes(64)
NOBODY = RUN.replace("0001", "9999")
LATER = "NOT_IMPLEMENTED"


def decision(
    *,
    run: str = ASKING_RUN,
    call: str = "step-1-1",
    arguments: str = '{"text": "Ether gained."}',
    allow: bool = True,
) -> pb.DecideApprovalRequest:
    """Return a decision about a call whose arguments were seen."""
    digest = action_pb2.Digest(sha256=sha256_hex(arguments.encode()))
    name = f"{run}/approvals/{call}"
    return pb.DecideApprovalRequest(name=name, allow=allow, arguments_digest=digest)


def signal(**fields: str) -> pb.SignalRunRequest:
    """Return a signal that the open run takes, after changes."""
    return pb.SignalRunRequest(
        **{"request_id": "signal", "name": OPEN_RUN, "signal": "go", "payload": "1"} | fields
    )


CALLS = [
    Call("StartRun", pb.StartRunRequest(request_id="a", bundle=BUNDLE)),
    Call("StartRun", pb.StartRunRequest(request_id="b", bundle_name=BUNDLE.name, dry_run=True)),
    Call("StartRun", pb.StartRunRequest(bundle=BUNDLE), reason="INVALID_FIELD"),
    Call("StartRun", pb.StartRunRequest(request_id="c", bundle=FORGED), reason="BUNDLE_INVALID"),
    Call(
        "StartRun",
        pb.StartRunRequest(request_id="d", bundle_name=f"bundles/{64 * '0'}"),
        reason="BUNDLE_NOT_FOUND",
    ),
    Call(
        "StartRun",
        pb.StartRunRequest(request_id="first", bundle=BUNDLE, input="1"),
        reason="REQUEST_ID_REUSED",
    ),
    Call("StartRun", pb.StartRunRequest(), caller="gas", reason="METHOD_DENIED"),
    Call("StartRun", pb.StartRunRequest(), caller="nobody", reason="TOKEN_INVALID"),
    Call("GetRun", pb.GetRunRequest(name=RUN)),
    Call("GetRun", pb.GetRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("ListRuns", pb.ListRunsRequest()),
    Call("ListRuns", pb.ListRunsRequest(page_size=-1), reason="INVALID_FIELD"),
    Call("WatchRun", pb.WatchRunRequest(name=RUN)),
    Call("WatchRun", pb.WatchRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("CancelRun", pb.CancelRunRequest(name=RUN)),
    Call("CancelRun", pb.CancelRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("GetReceipt", pb.GetReceiptRequest(run=RUN)),
    Call("GetReceipt", pb.GetReceiptRequest(run=NOBODY), reason="RUN_NOT_FOUND"),
    Call("GetReceipt", pb.GetReceiptRequest(run=OPEN_RUN), reason="RUN_UNFINISHED"),
    Call("ListActions", pb.ListActionsRequest()),
    Call("ListActions", pb.ListActionsRequest(), caller="assembler"),
    Call("PauseRun", pb.PauseRunRequest(name=OPEN_RUN)),
    Call("PauseRun", pb.PauseRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("PauseRun", pb.PauseRunRequest(name="run"), reason="INVALID_FIELD"),
    Call("ResumeRun", pb.ResumeRunRequest(name=OPEN_RUN)),
    Call("ResumeRun", pb.ResumeRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("ListApprovals", pb.ListApprovalsRequest()),
    Call("ListApprovals", pb.ListApprovalsRequest(page_token="?"), reason="INVALID_FIELD"),
    Call("ListApprovals", pb.ListApprovalsRequest(), caller="viewer", reason="METHOD_DENIED"),
    Call("DecideApproval", decision()),
    Call("DecideApproval", decision(allow=False), reason="APPROVAL_DECIDED"),
    Call("DecideApproval", decision(arguments="{}"), reason="ARGUMENTS_DIFFER"),
    Call("DecideApproval", decision(call="step-1-2"), reason="APPROVAL_NOT_FOUND"),
    Call("DecideApproval", decision(call="post.3-1"), reason="APPROVAL_NOT_FOUND"),
    Call("DecideApproval", decision(run=OPEN_RUN), reason="APPROVAL_NOT_FOUND"),
    Call("DecideApproval", decision(run=NOBODY), reason="APPROVAL_NOT_FOUND"),
    Call("DecideApproval", pb.DecideApprovalRequest(name=RUN), reason="INVALID_FIELD"),
    Call("DecideApproval", decision(), caller="auditor", reason="METHOD_DENIED"),
    Call("SignalRun", signal()),
    Call("SignalRun", signal(request_id=""), reason="INVALID_FIELD"),
    Call("SignalRun", signal(signal="Go!"), reason="INVALID_FIELD"),
    Call("SignalRun", signal(payload="{"), reason="INVALID_FIELD"),
    Call("SignalRun", signal(payload=f'"{16_384 * "a"}"'), reason="INVALID_FIELD"),
    Call("SignalRun", signal(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("SignalRun", signal(name=RUN), reason="RUN_ENDED"),
    Call("SignalRun", signal(payload="2"), reason="REQUEST_ID_REUSED"),
    Call("ForkRun", pb.ForkRunRequest(request_id="fork", name=RUN, sequence=1)),
    Call("ForkRun", pb.ForkRunRequest(request_id="fork", name=RUN), reason="REQUEST_ID_REUSED"),
    Call("ForkRun", pb.ForkRunRequest(name=RUN), reason="INVALID_FIELD"),
    Call(
        "ForkRun",
        pb.ForkRunRequest(request_id="fork-2", name=RUN, sequence=5),
        reason="FORK_REFUSED",
    ),
    Call("ForkRun", pb.ForkRunRequest(request_id="f", name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("ListEffects", pb.ListEffectsRequest()),
    Call("ListEffects", pb.ListEffectsRequest(run=RUN, state=pb.Effect.STATE_CONFIRMED)),
    Call("ListEffects", pb.ListEffectsRequest(run=NOBODY), reason="RUN_NOT_FOUND"),
    Call("ListEffects", pb.ListEffectsRequest(run="run"), reason="INVALID_FIELD"),
    Call("ListEffects", pb.ListEffectsRequest(state=99), reason="INVALID_FIELD"),  # type: ignore[arg-type]  # not of the enum
    Call("ListEffects", pb.ListEffectsRequest(page_token="?"), reason="INVALID_FIELD"),
    Call("ListEffects", pb.ListEffectsRequest(), caller="viewer", reason="METHOD_DENIED"),
    Call("ReplayRun", pb.ReplayRunRequest(name=RUN)),
    Call("ReplayRun", pb.ReplayRunRequest(name=OPEN_RUN)),
    Call("ReplayRun", pb.ReplayRunRequest(name=NOBODY), reason="RUN_NOT_FOUND"),
    Call("ReplayRun", pb.ReplayRunRequest(), reason="INVALID_FIELD"),
    Call("ReplayRun", pb.ReplayRunRequest(name=RUN), caller="viewer", reason="METHOD_DENIED"),
    Call("DiffRuns", pb.DiffRunsRequest(left=RUN, right=OPEN_RUN)),
    Call("DiffRuns", pb.DiffRunsRequest(left=RUN, right=NOBODY), reason="RUN_NOT_FOUND"),
    Call("DiffRuns", pb.DiffRunsRequest(left=RUN), reason="INVALID_FIELD"),
]


@pytest.fixture(scope="module")
def hosted_service(tmp_path_factory: pytest.TempPathFactory) -> HostedFactory:
    return hosting(World(tmp_path_factory.mktemp("runtime")), asks=True)


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Callable[[grpc.Channel], Any]:
    return runtime_pb2_grpc.RuntimeServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_what_waits_for_a_person_is_listed_with_what_a_decision_needs(
    grpc_stub_as: StubAs,
) -> None:
    stub = grpc_stub_as("auditor")
    name = f"{ASKING_RUN}/approvals/step-1-1"
    listed = stub.ListApprovals(pb.ListApprovalsRequest()).approvals
    (approval,) = [one for one in listed if one.name == name]
    assert stub.GetRun(pb.GetRunRequest(name=ASKING_RUN)).run.approval == APPROVAL
    known = (approval.approval, approval.account, approval.rule)
    assert known == (APPROVAL, "agents/market-brief", "posts")
    assert approval.call.action == "board.post"
    assert approval.arguments_digest.sha256 == decision().arguments_digest.sha256
    assert approval.HasField("create_time")
