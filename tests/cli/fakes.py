"""The six services as the command line sees them: one server that says what a test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2, assembler_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from chassis.canonical import Json, canonical_json
from chassis.errors import InvalidArgument, NotFound, PeerUnavailable, ServiceError

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

RUN = "runs/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"
FORK = "runs/22222222-2222-4333-8444-555555555555"
BUNDLE = f"bundles/{'ab' * 32}"
RECEIPT_SEED = b"r" * 32


@dataclass(eq=False)
class InvalidManifest(InvalidArgument):
    """Carries problems, as the assembler's error does."""

    reason = "INVALID_MANIFEST"
    message = "the manifest has problems"


@dataclass(eq=False)
class RunNotFound(NotFound):
    """As the runtime's error."""

    reason = "RUN_NOT_FOUND"
    message = "{run} does not exist"

    run: str


PROBLEM = action_pb2.Problem(
    severity=action_pb2.Problem.SEVERITY_ERROR,
    code="UNKNOWN_FIELD",
    file="agent.yaml",
    line=3,
    column=5,
    field="spec.modle",
    message="unknown field 'modle'",
    fix="did you mean 'model'?",
)


def details_of(error: ServiceError) -> Sequence[Message]:
    """Return what the assembler adds to its errors."""
    return [action_pb2.Problems(problems=[PROBLEM])] if isinstance(error, InvalidManifest) else []


def make_receipt(run: str = RUN, item: str = "model local/babbler") -> action_pb2.Receipt:
    """Return a receipt that is signed with the fake's key."""
    charge: dict[str, Json] = {
        "line": 1,
        "item": item,
        "usages": [{"meter": "METER_INPUT_TOKENS", "amount": 12}],
        "gas": 7,
        "price_version": "v1",
    }
    fields: dict[str, Json] = {
        "run": run,
        "account": "agents/fake",
        "charges": [charge],
        "total_gas": 7,
    }
    content = canonical_json(fields)
    digest = hashlib.sha256(content).hexdigest()
    message = b"actionvm/receipt/v1\n" + digest.encode()
    usage = action_pb2.Usage(meter=action_pb2.Usage.METER_INPUT_TOKENS, amount=12)
    return action_pb2.Receipt(
        run=run,
        account="agents/fake",
        charges=[action_pb2.Charge(line=1, item=item, usages=[usage], gas=7, price_version="v1")],
        total_gas=7,
        digest=action_pb2.Digest(sha256=digest, size_bytes=len(content)),
        signature=action_pb2.Signature(
            key="keys/receipts", algorithm="ed25519", value=receipt_key().sign(message)
        ),
    )


def make_payload(**changes: Json) -> bytes:
    """Return a bundle of two steps with one action, which the run needs."""
    action: dict[str, Json] = {
        "name": "board.post",
        "program": "catalogue:board.post",
        "approval": "allow",
        "required": True,
        "limits": {"per_run": 1},
    }
    bundle: dict[str, Json] = {
        "format": "actionvm.bundle/v1",
        "agent": {"name": "fake"},
        "model": {"name": "local/babbler", "tokens_max": 100, "context_tokens": 1000},
        "actions": [action],
        "budget": {"gas": 50_000, "period": "day"},
        "limits": {"steps": 2},
    }
    return canonical_json(bundle | changes)


def receipt_key() -> Ed25519PrivateKey:
    """Return the key that signs receipts."""
    return Ed25519PrivateKey.from_private_bytes(RECEIPT_SEED)


def make_events(
    state: runtime_pb2.Run.State.ValueType = runtime_pb2.Run.STATE_SUCCEEDED,
) -> list[runtime_pb2.WatchRunResponse]:
    """Return the journal of a run with one action, which ends in this state."""
    call = action_pb2.ActionCall(id="c1", action="board.post", arguments='{"text": "hi"}')
    succeeded = state == runtime_pb2.Run.STATE_SUCCEEDED
    failure = runtime_pb2.Failure(reason="STEPS_EXCEEDED", message="raise limits.steps")
    finished = runtime_pb2.RunFinished(
        state=state,
        answer="all is well" if succeeded else "",
        failure=None if succeeded else failure,
        receipt=make_receipt(),
    )
    events = [
        runtime_pb2.WatchRunResponse(started=runtime_pb2.RunStarted(bundle=BUNDLE)),
        runtime_pb2.WatchRunResponse(
            generated=runtime_pb2.GenerationFinished(step=1, calls=[call], gas=5)
        ),
        runtime_pb2.WatchRunResponse(
            decided=runtime_pb2.ActionDecided(
                call=call, decision=runtime_pb2.ActionDecided.DECISION_ALLOW
            )
        ),
        runtime_pb2.WatchRunResponse(
            acted=runtime_pb2.ActionFinished(
                call_id="c1", action="board.post", result='{"id": 1}', gas=2
            )
        ),
        runtime_pb2.WatchRunResponse(finished=finished),
    ]
    for sequence, event in enumerate(events, start=1):
        event.sequence = sequence
    return events


class FakeAssembler(assembler_pb2_grpc.AssemblerServiceServicer):
    """Assembles anything, after as many failures as a test asks for."""

    def __init__(self) -> None:
        self.requests: list[assembler_pb2.AssembleAgentRequest] = []
        self.failures: list[ServiceError] = []
        self.problems: list[action_pb2.Problem] = []
        self.payloads = {BUNDLE: make_payload()}

    async def AssembleAgent(
        self, request: assembler_pb2.AssembleAgentRequest, context: Context
    ) -> AsyncIterator[assembler_pb2.AssembleAgentResponse]:
        self.requests.append(request)
        progress = assembler_pb2.Progress(stage=assembler_pb2.STAGE_PARSE, detail="reading")
        yield assembler_pb2.AssembleAgentResponse(progress=progress)
        if self.failures:
            raise self.failures.pop(0)
        bundle = action_pb2.Bundle(name=BUNDLE, payload=self.payloads[BUNDLE])
        assembly = assembler_pb2.Assembly(bundle=bundle, step_gas_max=9)
        yield assembler_pb2.AssembleAgentResponse(assembly=assembly)

    async def GetBundle(
        self, request: assembler_pb2.GetBundleRequest, context: Context
    ) -> assembler_pb2.GetBundleResponse:
        payload = self.payloads[request.name]
        bundle = action_pb2.Bundle(name=request.name, payload=payload)
        return assembler_pb2.GetBundleResponse(bundle=bundle)

    async def ListBundles(
        self, request: assembler_pb2.ListBundlesRequest, context: Context
    ) -> assembler_pb2.ListBundlesResponse:
        bundles = [
            assembler_pb2.BundleSummary(name=name, account="agents/fake") for name in self.payloads
        ]
        return assembler_pb2.ListBundlesResponse(bundles=bundles)

    async def ValidateManifest(
        self, request: assembler_pb2.ValidateManifestRequest, context: Context
    ) -> assembler_pb2.ValidateManifestResponse:
        return assembler_pb2.ValidateManifestResponse(problems=self.problems)


class FakeRuntime(runtime_pb2_grpc.RuntimeServiceServicer):
    """Has one run with a journal; a stream breaks off after each number in `breaks`."""

    def __init__(self) -> None:
        self.events = make_events()
        self.receipts = {RUN: make_receipt()}
        self.breaks: list[int] = []
        self.hangs = False
        self.watches: list[int] = []
        self.cancels: list[str] = []
        self.steered: list[Message] = []
        self.replays = [
            runtime_pb2.ReplayRunResponse(event=event, same=True, sequence=event.sequence)
            for event in self.events
            if event.sequence
        ]
        self.parting = runtime_pb2.DiffRunsResponse()
        self.effects = [
            runtime_pb2.Effect(
                run=RUN,
                account="agents/brief",
                call_id="step-1-1",
                action="board.post",
                state=runtime_pb2.Effect.STATE_FAILED,
                attempts=2,
                reason="POST_REFUSED",
            )
        ]
        self.starts: list[runtime_pb2.StartRunRequest] = []
        self.start_failures: list[ServiceError] = []
        self.waiting: list[runtime_pb2.Approval] = []
        self.decided: list[runtime_pb2.DecideApprovalRequest] = []
        self.run = runtime_pb2.Run(name=RUN, bundle=BUNDLE, state=runtime_pb2.Run.STATE_SUCCEEDED)

    async def StartRun(
        self, request: runtime_pb2.StartRunRequest, context: Context
    ) -> runtime_pb2.StartRunResponse:
        self.starts.append(request)
        if self.start_failures:
            raise self.start_failures.pop(0)
        return runtime_pb2.StartRunResponse(run=self.run)

    async def WatchRun(
        self, request: runtime_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[runtime_pb2.WatchRunResponse]:
        _require_run(request.name)
        self.watches.append(request.after_sequence)
        stop = self.breaks.pop(0) if self.breaks else None
        for event in self.events[request.after_sequence : stop]:
            yield event
        if stop is not None:
            raise PeerUnavailable("runtime")
        if self.hangs:
            await asyncio.Event().wait()

    async def GetRun(
        self, request: runtime_pb2.GetRunRequest, context: Context
    ) -> runtime_pb2.GetRunResponse:
        _require_run(request.name)
        return runtime_pb2.GetRunResponse(run=self.run)

    async def ListRuns(
        self, request: runtime_pb2.ListRunsRequest, context: Context
    ) -> runtime_pb2.ListRunsResponse:
        return runtime_pb2.ListRunsResponse(runs=[self.run])

    async def ListApprovals(
        self, request: runtime_pb2.ListApprovalsRequest, context: Context
    ) -> runtime_pb2.ListApprovalsResponse:
        return runtime_pb2.ListApprovalsResponse(approvals=self.waiting)

    async def DecideApproval(
        self, request: runtime_pb2.DecideApprovalRequest, context: Context
    ) -> runtime_pb2.DecideApprovalResponse:
        self.decided.append(request)
        return runtime_pb2.DecideApprovalResponse()

    async def CancelRun(
        self, request: runtime_pb2.CancelRunRequest, context: Context
    ) -> runtime_pb2.CancelRunResponse:
        _require_run(request.name)
        # The run ends, and whoever watches it sees that.
        self.cancels.append(request.name)
        self.events, self.hangs = make_events(), False
        return runtime_pb2.CancelRunResponse(run=self.run)

    async def PauseRun(
        self, request: runtime_pb2.PauseRunRequest, context: Context
    ) -> runtime_pb2.PauseRunResponse:
        _require_run(request.name)
        self.steered.append(request)
        return runtime_pb2.PauseRunResponse(run=self.run)

    async def ResumeRun(
        self, request: runtime_pb2.ResumeRunRequest, context: Context
    ) -> runtime_pb2.ResumeRunResponse:
        _require_run(request.name)
        self.steered.append(request)
        return runtime_pb2.ResumeRunResponse(run=self.run)

    async def SignalRun(
        self, request: runtime_pb2.SignalRunRequest, context: Context
    ) -> runtime_pb2.SignalRunResponse:
        _require_run(request.name)
        self.steered.append(request)
        return runtime_pb2.SignalRunResponse()

    async def ForkRun(
        self, request: runtime_pb2.ForkRunRequest, context: Context
    ) -> runtime_pb2.ForkRunResponse:
        _require_run(request.name)
        self.steered.append(request)
        fork = runtime_pb2.Run(name=FORK, origin=request.name, state=runtime_pb2.Run.STATE_PENDING)
        return runtime_pb2.ForkRunResponse(run=fork)

    async def ReplayRun(
        self, request: runtime_pb2.ReplayRunRequest, context: Context
    ) -> AsyncIterator[runtime_pb2.ReplayRunResponse]:
        _require_run(request.name)
        for response in self.replays:
            yield response

    async def ListEffects(
        self, request: runtime_pb2.ListEffectsRequest, context: Context
    ) -> runtime_pb2.ListEffectsResponse:
        self.steered.append(request)
        return runtime_pb2.ListEffectsResponse(effects=self.effects)

    async def DiffRuns(
        self, request: runtime_pb2.DiffRunsRequest, context: Context
    ) -> runtime_pb2.DiffRunsResponse:
        _require_run(request.left)
        return self.parting

    async def GetReceipt(
        self, request: runtime_pb2.GetReceiptRequest, context: Context
    ) -> runtime_pb2.GetReceiptResponse:
        if request.run not in self.receipts:
            raise RunNotFound(request.run)
        return runtime_pb2.GetReceiptResponse(receipt=self.receipts[request.run])


class FakeKnowledge(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Keeps the last document, and finds it."""

    def __init__(self) -> None:
        self.documents: list[knowledge_pb2.Document] = []

    async def PutDocument(
        self, request: knowledge_pb2.PutDocumentRequest, context: Context
    ) -> knowledge_pb2.PutDocumentResponse:
        self.documents.append(request.document)
        return knowledge_pb2.PutDocumentResponse(
            document=knowledge_pb2.Document(name=request.document.name),
            passage_count=1,
            changed=True,
        )

    async def SearchKnowledge(
        self, request: knowledge_pb2.SearchKnowledgeRequest, context: Context
    ) -> knowledge_pb2.SearchKnowledgeResponse:
        passage = knowledge_pb2.Passage(
            document=f"{request.collections[0]}/documents/a.md", text="ether moved", score=0.5
        )
        return knowledge_pb2.SearchKnowledgeResponse(passages=[passage])

    async def ListCollections(
        self, request: knowledge_pb2.ListCollectionsRequest, context: Context
    ) -> knowledge_pb2.ListCollectionsResponse:
        collection = knowledge_pb2.Collection(name="collections/market", document_count=3)
        return knowledge_pb2.ListCollectionsResponse(collections=[collection])

    async def ListDocuments(
        self, request: knowledge_pb2.ListDocumentsRequest, context: Context
    ) -> knowledge_pb2.ListDocumentsResponse:
        document = knowledge_pb2.Document(name=f"{request.collection}/documents/a.md")
        return knowledge_pb2.ListDocumentsResponse(documents=[document])


def _require_run(name: str) -> None:
    if name != RUN:
        raise RunNotFound(name)
