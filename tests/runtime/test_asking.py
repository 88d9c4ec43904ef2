"""The policy of an agent asks, and a person answers over gRPC: from the question to the effect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2 as pb
from actionvm.runtime.v1 import runtime_pb2_grpc
from chassis.server import Hosted
from runtime.bundles import read_program
from runtime.journal.port import NewRun
from runtime.service import hosted
from tests.fakes.runtime_ports import answer, calls
from tests.grpc_fixtures import HostedFactory, StubAs
from tests.runtime.worlds import POST, RUN, World, with_actions

OTHER_RUN = f"{RUN[:-1]}2"
TEXT = {RUN: "Ether gained.", OTHER_RUN: "Ether lost."}
BOUND = {"kind": "bound", "name": "short", "field": "text", "measure": "length", "ask_above": "3"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("runtime"))
    world.model.answers = lambda prompt: (
        calls(("board.post", json.dumps({"text": prompt.messages[1].text})))
        if len(prompt.messages) == 2
        else answer("done")
    )
    return world


@pytest.fixture(scope="module")
def hosted_service(world: World) -> HostedFactory:
    @asynccontextmanager
    async def host() -> AsyncIterator[Hosted]:
        sealed = world.seal(with_actions({**POST, "required": False, "policy": [BOUND]}))
        account = read_program(sealed.payload).account
        new = NewRun(RUN, RUN, sealed.name, sealed.payload, account, "", dry_run=False)
        for name, text in TEXT.items():
            started = replace(new, name=name, request_id=name, input=json.dumps(text))
            await world.journal.create(started, world.clock.now())
        servicer, conductor = world.servicer()
        await conductor.start()
        for name in TEXT:
            await world.until(name, lambda run: run.approval)
        yield hosted(servicer)
        await conductor.stop()

    return host


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Callable[[grpc.Channel], Any]:
    return runtime_pb2_grpc.RuntimeServiceStub


def decision(waiting: pb.Approval, *, allow: bool, sha256: str = "") -> pb.DecideApprovalRequest:
    """Return a decision about what was shown, or about something else."""
    digest = action_pb2.Digest(sha256=sha256 or waiting.arguments_digest.sha256)
    return pb.DecideApprovalRequest(name=waiting.name, allow=allow, arguments_digest=digest)


def test_a_question_is_answered_by_who_may_and_the_call_happens_or_not(
    world: World, grpc_stub_as: StubAs
) -> None:
    operator, auditor = grpc_stub_as("operator"), grpc_stub_as("auditor")
    page = auditor.ListApprovals(pb.ListApprovalsRequest())
    waiting = {one.name.partition("/approvals/")[0]: one for one in page.approvals}
    assert waiting.keys() == TEXT.keys()
    assert all(one.approval == "" for one in waiting.values())
    assert waiting[RUN].rule == "rule short: the length of text is 13, above 3"
    assert json.loads(waiting[RUN].call.arguments) == {"text": TEXT[RUN]}

    yes = decision(waiting[RUN], allow=True)
    for caller in ("auditor", "viewer", "assembler", "runtime", "gas"):
        with pytest.raises(grpc.RpcError) as denied:
            grpc_stub_as(caller).DecideApproval(yes)
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    other = waiting[OTHER_RUN].arguments_digest.sha256
    with pytest.raises(grpc.RpcError) as differs:
        operator.DecideApproval(decision(waiting[RUN], allow=True, sha256=other))
    assert differs.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert world.signer.requests == []

    operator.DecideApproval(yes)
    operator.DecideApproval(decision(waiting[OTHER_RUN], allow=False))
    events = {
        name: [*operator.WatchRun(pb.WatchRunRequest(name=name))] for name in (RUN, OTHER_RUN)
    }
    for name, allows in ((RUN, True), (OTHER_RUN, False)):
        (approved,) = [one.approved for one in events[name] if one.HasField("approved")]
        assert (approved.allows, approved.who) == (allows, "operator")
        (acted,) = [one.acted for one in events[name] if one.HasField("acted")]
        assert acted.failed is not allows
    assert [post["text"] for post in world.board.posts.values()] == [TEXT[RUN]]
    assert len(world.signer.requests) == 1

    with pytest.raises(grpc.RpcError) as late:
        operator.DecideApproval(yes)
    assert late.value.code() is grpc.StatusCode.NOT_FOUND
