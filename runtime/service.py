"""The contract of the runtime over gRPC: parse, ask the domain, build the answer."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from chassis import fields, identity
from chassis.errors import InvalidField, RequestIdReused
from chassis.identity import AUDITORS, OPERATOR, PEOPLE
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from . import facts
from .audience import watch
from .clients import sealed_bundle
from .conductor import Conductor
from .effects import effects_of
from .errors import ApprovalDecided, ArgumentsDiffer, RunEnded
from .journal.port import NewRun, Run
from .jsontext import read_json
from .messages import (
    approval_to_proto,
    catalogue_action_to_proto,
    effect_state,
    effect_to_proto,
    parting_to_proto,
    receipt_to_proto,
    replayed_to_proto,
    run_to_proto,
    sight_to_proto,
)
from .stage import Stage

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = runtime_pb2.DESCRIPTOR.services_by_name["RuntimeService"]
CALLERS = {
    **{method.name: frozenset({OPERATOR}) for method in DESCRIPTOR.methods},
    "GetRun": PEOPLE,
    "ListRuns": PEOPLE,
    # What an agent read and wrote is for who must check it, not for who looks.
    "WatchRun": AUDITORS,
    "ListApprovals": AUDITORS,
    "ListEffects": AUDITORS,
    "ReplayRun": AUDITORS,
    "DiffRuns": AUDITORS,
    "GetReceipt": PEOPLE,
    "ListActions": PEOPLE | {"assembler"},
}

INPUT_BYTES_MAX = 64 * 1024
SIGNAL_BYTES_MAX = 16 * 1024
SIGNAL = re.compile(r"[a-z0-9_.-]{1,64}")
# A call of a loop is `step-1-1`, one of a workflow `post-1` or `post.3-1`.
_APPROVAL_NAME = re.compile(rf"{fields.RUN_NAME.pattern}/approvals/[a-z][a-z0-9_.-]{{0,63}}")
_APPROVAL_EXAMPLE = "runs/01234567-89ab-4def-8123-456789abcdef/approvals/step-1-1"
_RUN_EXAMPLE = "runs/01234567-89ab-4def-8123-456789abcdef"
_BUNDLE_EXAMPLE = f"bundles/{64 * '0'}"


@refusing_the_rest(DESCRIPTOR)
class RuntimeService:
    """Answers calls; the conductor does the work behind them."""

    def __init__(self, *, stage: Stage, conductor: Conductor, dice: random.Random) -> None:
        self._stage = stage
        self._conductor = conductor
        self._dice = dice

    async def StartRun(
        self, request: runtime_pb2.StartRunRequest, _context: Context
    ) -> runtime_pb2.StartRunResponse:
        fields.require_request_id(request.request_id)
        input_json = _json("input", request.input, empty='""', size_max=INPUT_BYTES_MAX)
        match request.WhichOneof("program"):
            case "bundle":
                sealed = sealed_bundle(request.bundle)
            case "bundle_name":
                name = fields.require_match(
                    "bundle_name", request.bundle_name, fields.BUNDLE_NAME, example=_BUNDLE_EXAMPLE
                )
                sealed = await self._stage.bundles.get(name)
            case _:
                raise InvalidField("program", "is required: 'bundle_name' or 'bundle'")
        program = await self._stage.open(sealed)
        new = NewRun(
            name=self._new_name(),
            request_id=request.request_id,
            bundle=sealed.name,
            payload=sealed.payload,
            account=program.account,
            input=input_json,
            dry_run=request.dry_run,
        )
        # A caller may leave at any point; a run that is stored must be taken up all the same.
        run = await asyncio.shield(self._conductor.open(new))
        return runtime_pb2.StartRunResponse(run=run_to_proto(run))

    async def GetRun(
        self, request: runtime_pb2.GetRunRequest, _context: Context
    ) -> runtime_pb2.GetRunResponse:
        run = await self._stage.journal.get(_run_name("name", request.name))
        return runtime_pb2.GetRunResponse(run=run_to_proto(run))

    async def ListRuns(
        self, request: runtime_pb2.ListRunsRequest, _context: Context
    ) -> runtime_pb2.ListRunsResponse:
        limit = fields.page_limit(request.page_size)
        start = fields.page_start(request.page_token)
        before = fields.page_number(start[0]) if start else None
        runs = await self._stage.journal.newest(limit + 1, before=before)
        page = runs[:limit]
        token = fields.page_token(str(page[-1].number)) if len(runs) > limit else ""
        return runtime_pb2.ListRunsResponse(runs=map(run_to_proto, page), next_page_token=token)

    async def ListEffects(
        self, request: runtime_pb2.ListEffectsRequest, _context: Context
    ) -> runtime_pb2.ListEffectsResponse:
        limit = fields.page_limit(request.page_size)
        state = effect_state("state", request.state)
        start = fields.page_start(request.page_token)
        before = fields.page_number(start[0]) if start else None
        journal = self._stage.journal
        if request.run:
            runs = [await journal.get(_run_name("run", request.run))]
        else:
            runs = await journal.newest(limit + 1, before=before)
        page = runs[:limit]
        sent = await journal.sent([run.name for run in page])
        found = [effect for run in page for effect in effects_of(run, sent[run.name])]
        token = fields.page_token(str(page[-1].number)) if len(runs) > limit else ""
        return runtime_pb2.ListEffectsResponse(
            effects=[effect_to_proto(one) for one in found if state in (None, one.state)],
            next_page_token=token,
        )

    async def WatchRun(
        self, request: runtime_pb2.WatchRunRequest, _context: Context
    ) -> AsyncGenerator[runtime_pb2.WatchRunResponse, None]:
        name = _run_name("name", request.name)
        fields.require_range("after_sequence", request.after_sequence, least=0, most=2**63 - 1)
        stage = self._stage
        sights = watch(stage.journal, stage.audience, name, after=request.after_sequence)
        async with aclosing(sights):
            async for sight in sights:
                yield sight_to_proto(sight)

    async def CancelRun(
        self, request: runtime_pb2.CancelRunRequest, _context: Context
    ) -> runtime_pb2.CancelRunResponse:
        name = _run_name("name", request.name)
        run = await asyncio.shield(self._conductor.cancel(name, request_id="cancel"))
        return runtime_pb2.CancelRunResponse(run=run_to_proto(run))

    async def PauseRun(
        self, request: runtime_pb2.PauseRunRequest, _context: Context
    ) -> runtime_pb2.PauseRunResponse:
        run = await self._post(_run_name("name", request.name), facts.PauseRequested())
        return runtime_pb2.PauseRunResponse(run=run_to_proto(run))

    async def ResumeRun(
        self, request: runtime_pb2.ResumeRunRequest, _context: Context
    ) -> runtime_pb2.ResumeRunResponse:
        run = await self._post(_run_name("name", request.name), facts.ResumeRequested())
        return runtime_pb2.ResumeRunResponse(run=run_to_proto(run))

    async def SignalRun(
        self, request: runtime_pb2.SignalRunRequest, _context: Context
    ) -> runtime_pb2.SignalRunResponse:
        fields.require_request_id(request.request_id)
        name = _run_name("name", request.name)
        signal = fields.require_match("signal", request.signal, SIGNAL, example="approved")
        payload = _json("payload", request.payload, empty="null", size_max=SIGNAL_BYTES_MAX)
        note = facts.SignalSent(signal, payload)
        run = await self._post(name, note, request_id=f"signal/{request.request_id}")
        if run.end_time is not None:
            raise RunEnded(name)
        return runtime_pb2.SignalRunResponse()

    async def ForkRun(
        self, request: runtime_pb2.ForkRunRequest, _context: Context
    ) -> runtime_pb2.ForkRunResponse:
        fields.require_request_id(request.request_id)
        name = _run_name("name", request.name)
        fields.require_range("sequence", request.sequence, least=0, most=2**63 - 1)
        forking = self._conductor.fork(
            name,
            sequence=request.sequence,
            request_id=request.request_id,
            fork=self._new_name(),
        )
        run = await asyncio.shield(asyncio.ensure_future(forking))
        return runtime_pb2.ForkRunResponse(run=run_to_proto(run))

    async def ReplayRun(
        self, request: runtime_pb2.ReplayRunRequest, _context: Context
    ) -> AsyncGenerator[runtime_pb2.ReplayRunResponse, None]:
        async for replayed in self._conductor.replay(_run_name("name", request.name)):
            yield replayed_to_proto(replayed)

    async def DiffRuns(
        self, request: runtime_pb2.DiffRunsRequest, _context: Context
    ) -> runtime_pb2.DiffRunsResponse:
        left, right = _run_name("left", request.left), _run_name("right", request.right)
        return parting_to_proto(await self._conductor.compare(left, right))

    async def GetReceipt(
        self, request: runtime_pb2.GetReceiptRequest, _context: Context
    ) -> runtime_pb2.GetReceiptResponse:
        name = _run_name("run", request.run)
        receipt = await self._stage.journal.receipt(name)
        return runtime_pb2.GetReceiptResponse(receipt=receipt_to_proto(receipt))

    async def ListActions(
        self, _request: runtime_pb2.ListActionsRequest, _context: Context
    ) -> runtime_pb2.ListActionsResponse:
        connectors = sorted(self._stage.connectors.items())
        actions = [catalogue_action_to_proto(connector.descriptor) for _, connector in connectors]
        return runtime_pb2.ListActionsResponse(actions=actions)

    async def ListApprovals(
        self, request: runtime_pb2.ListApprovalsRequest, _context: Context
    ) -> runtime_pb2.ListApprovalsResponse:
        limit = fields.page_limit(request.page_size)
        since, *numbers = fields.page_start(request.page_token, parts=3) or ("", "0", "0")
        number, sequence = map(fields.page_number, numbers)
        after = since, number, sequence
        found = await self._stage.journal.waiting(limit + 1, after=after)
        page = found[:limit]
        token = fields.page_token(*map(str, page[-1].place)) if len(found) > limit else ""
        return runtime_pb2.ListApprovalsResponse(
            approvals=map(approval_to_proto, page), next_page_token=token
        )

    async def DecideApproval(
        self, request: runtime_pb2.DecideApprovalRequest, context: Context
    ) -> runtime_pb2.DecideApprovalResponse:
        name = fields.require_match("name", request.name, _APPROVAL_NAME, example=_APPROVAL_EXAMPLE)
        run, _, call = name.partition("/approvals/")
        awaited = await self._stage.journal.awaited(run, call)
        if awaited.arguments_sha256 != request.arguments_digest.sha256:
            raise ArgumentsDiffer(name)
        if awaited.approval:
            await self._stage.approvals.decide(
                awaited.approval, allows=request.allow, authorization=_authorization(context)
            )
            self._conductor.nudge(run)
            return runtime_pb2.DecideApprovalResponse()
        note = facts.ApprovalDecided(
            call, awaited.arguments_sha256, request.allow, identity.current_name()
        )
        try:
            await self._post(run, note, request_id=f"approval/{call}")
        except RequestIdReused as error:
            raise ApprovalDecided(name) from error
        return runtime_pb2.DecideApprovalResponse()

    async def _post(self, run: str, note: facts.Note, *, request_id: str = "") -> Run:
        """Keep what somebody wants of a run, also where he leaves before it is kept."""
        request_id = request_id or f"{self._dice.getrandbits(128):032x}"
        posting = self._conductor.post(run, note, request_id=request_id)
        return await asyncio.shield(asyncio.ensure_future(posting))

    def _new_name(self) -> str:
        return f"runs/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}"


def hosted(servicer: RuntimeService) -> Hosted:
    """Return the service, ready to be served."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: runtime_pb2_grpc.add_RuntimeServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


def _run_name(field: str, name: str) -> str:
    return fields.require_match(field, name, fields.RUN_NAME, example=_RUN_EXAMPLE)


def _json(field: str, text: str, *, empty: str, size_max: int) -> str:
    fields.require_size(field, text.encode(), size_min=0, size_max=size_max)
    try:
        read_json(text or empty)
    except ValueError as error:
        raise InvalidField(field, f"must be JSON text, such as '\"hello\"': {error}") from error
    return text or empty


def _authorization(context: Context) -> str:
    """Return what the caller shows of himself, which was accepted here."""
    shown = dict(context.invocation_metadata() or ())
    return str(shown.get("authorization", ""))
