"""The contract of the runtime over gRPC: parse, ask the domain, build the answer."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from chassis import fields
from chassis.errors import InvalidField
from chassis.identity import AUDITORS, OPERATOR, PEOPLE
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from . import facts
from .audience import Sight, TextDelta, watch
from .clients import sealed_bundle
from .conductor import Conductor
from .connectors import Descriptor
from .jsontext import read_json, write_json
from .stage import Stage
from .store import NewRun, Run, Waiting

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
    "GetReceipt": PEOPLE,
    "ListActions": PEOPLE | {"assembler"},
}

INPUT_BYTES_MAX = 64 * 1024
_APPROVAL_NAME = re.compile(rf"{fields.RUN_NAME.pattern}/approvals/step-[0-9]{{1,9}}-[0-9]{{1,2}}")
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
        input_json = _input(request.input)
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
            name=f"runs/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}",
            request_id=request.request_id,
            bundle=sealed.name,
            payload=sealed.payload,
            account=program.account,
            input=input_json,
            dry_run=request.dry_run,
        )
        # A caller may leave at any point; a run that is stored must be taken up all the same.
        run = await asyncio.shield(self._conductor.open(new))
        return runtime_pb2.StartRunResponse(run=_run(run))

    async def GetRun(
        self, request: runtime_pb2.GetRunRequest, _context: Context
    ) -> runtime_pb2.GetRunResponse:
        run = await asyncio.to_thread(self._stage.store.get, _run_name("name", request.name))
        return runtime_pb2.GetRunResponse(run=_run(run))

    async def ListRuns(
        self, request: runtime_pb2.ListRunsRequest, _context: Context
    ) -> runtime_pb2.ListRunsResponse:
        limit = fields.page_limit(request.page_size)
        before = _number(fields.page_start(request.page_token))
        runs = await asyncio.to_thread(self._stage.store.newest, limit + 1, before=before)
        page = runs[:limit]
        token = fields.page_token(str(page[-1].number)) if len(runs) > limit else ""
        return runtime_pb2.ListRunsResponse(runs=map(_run, page), next_page_token=token)

    async def WatchRun(
        self, request: runtime_pb2.WatchRunRequest, _context: Context
    ) -> AsyncGenerator[runtime_pb2.WatchRunResponse, None]:
        name = _run_name("name", request.name)
        fields.require_range("after_sequence", request.after_sequence, least=0, most=2**63 - 1)
        stage = self._stage
        sights = watch(stage.store, stage.audience, name, after=request.after_sequence)
        async with aclosing(sights):
            async for sight in sights:
                yield _sight(sight)

    async def CancelRun(
        self, request: runtime_pb2.CancelRunRequest, _context: Context
    ) -> runtime_pb2.CancelRunResponse:
        run = await asyncio.shield(self._conductor.cancel(_run_name("name", request.name)))
        return runtime_pb2.CancelRunResponse(run=_run(run))

    async def GetReceipt(
        self, request: runtime_pb2.GetReceiptRequest, _context: Context
    ) -> runtime_pb2.GetReceiptResponse:
        name = _run_name("run", request.run)
        receipt = await asyncio.to_thread(self._stage.store.receipt, name)
        return runtime_pb2.GetReceiptResponse(receipt=_receipt(receipt))

    async def ListActions(
        self, _request: runtime_pb2.ListActionsRequest, _context: Context
    ) -> runtime_pb2.ListActionsResponse:
        connectors = sorted(self._stage.connectors.items())
        actions = [_catalogue_action(connector.descriptor) for _, connector in connectors]
        return runtime_pb2.ListActionsResponse(actions=actions)

    async def ListApprovals(
        self, request: runtime_pb2.ListApprovalsRequest, _context: Context
    ) -> runtime_pb2.ListApprovalsResponse:
        limit = fields.page_limit(request.page_size)
        since, number = fields.page_start(request.page_token, parts=2) or ("", "0")
        after = since, _number((number,)) or 0
        found = await asyncio.to_thread(self._stage.store.waiting, limit + 1, after=after)
        page = found[:limit]
        token = fields.page_token(*map(str, page[-1].place)) if len(found) > limit else ""
        return runtime_pb2.ListApprovalsResponse(
            approvals=map(_approval, page), next_page_token=token
        )

    async def DecideApproval(
        self, request: runtime_pb2.DecideApprovalRequest, context: Context
    ) -> runtime_pb2.DecideApprovalResponse:
        name = fields.require_match("name", request.name, _APPROVAL_NAME, example=_APPROVAL_EXAMPLE)
        run, _, call = name.partition("/approvals/")
        awaited = await asyncio.to_thread(
            self._stage.store.awaited, run, call, sha256=request.arguments_digest.sha256
        )
        await self._stage.approvals.decide(
            awaited.approval, allows=request.allow, authorization=_authorization(context)
        )
        self._conductor.nudge(run)
        return runtime_pb2.DecideApprovalResponse()


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


def _input(text: str) -> str:
    fields.require_size("input", text.encode(), size_min=0, size_max=INPUT_BYTES_MAX)
    try:
        read_json(text or '""')
    except ValueError as error:
        raise InvalidField("input", f"must be JSON text, such as '\"hello\"': {error}") from error
    return text or '""'


def _authorization(context: Context) -> str:
    """Return what the caller shows of himself, which was accepted here."""
    shown = dict(context.invocation_metadata() or ())
    return str(shown.get("authorization", ""))


def _number(start: tuple[str, ...] | None) -> int | None:
    if start is None:
        return None
    digits = start[0]
    if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(2**53)):
        raise InvalidField("page_token", "was not made by this service")
    return int(digits)


# --- Build ---------------------------------------------------------------------------------------

_STATES = {
    facts.State.PENDING: runtime_pb2.Run.STATE_PENDING,
    facts.State.RUNNING: runtime_pb2.Run.STATE_RUNNING,
    facts.State.SUCCEEDED: runtime_pb2.Run.STATE_SUCCEEDED,
    facts.State.FAILED: runtime_pb2.Run.STATE_FAILED,
    facts.State.CANCELLED: runtime_pb2.Run.STATE_CANCELLED,
}
_DECISIONS = {
    facts.Decision.ALLOW: runtime_pb2.ActionDecided.DECISION_ALLOW,
    facts.Decision.DENY: runtime_pb2.ActionDecided.DECISION_DENY,
    facts.Decision.DRY_RUN: runtime_pb2.ActionDecided.DECISION_DRY_RUN,
}
_EFFECTS = {"read": action_pb2.Action.EFFECT_READ, "write": action_pb2.Action.EFFECT_WRITE}


def _run(run: Run) -> runtime_pb2.Run:
    return runtime_pb2.Run(
        name=run.name,
        bundle=run.bundle,
        account=run.account,
        state=_STATES[run.state],
        input=run.input,
        answer=run.answer,
        failure=_failure(run.failure),
        step_count=run.step_count,
        gas=run.gas,
        dry_run=run.dry_run,
        create_time=_timestamp(run.create_time),
        end_time=_timestamp(run.end_time) if run.end_time else None,
        parent=facts.parent_of(run.callers),
        callers=[caller.account for caller in run.callers],
        approval=run.approval,
    )


def _approval(waiting: Waiting) -> runtime_pb2.Approval:
    awaited = waiting.awaited
    return runtime_pb2.Approval(
        name=f"{waiting.run.name}/approvals/{awaited.call.id}",
        call=_call(awaited.call),
        arguments_digest=action_pb2.Digest(
            sha256=awaited.arguments_sha256, size_bytes=len(awaited.call.arguments.encode())
        ),
        account=waiting.run.account,
        approval=awaited.approval,
        rule=awaited.rule,
        create_time=_timestamp(waiting.create_time),
    )


def _failure(failure: facts.Failure | None) -> runtime_pb2.Failure | None:
    if failure is None:
        return None
    return runtime_pb2.Failure(reason=failure.reason, message=failure.message)


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _catalogue_action(descriptor: Descriptor) -> runtime_pb2.CatalogueAction:
    action = action_pb2.Action(
        name=descriptor.name,
        description=descriptor.description,
        parameters_schema=write_json(dict(descriptor.parameters_schema)),
        effect=_EFFECTS[descriptor.effect],
    )
    return runtime_pb2.CatalogueAction(
        action=action,
        needs_credential=descriptor.needs_credential,
        settings_schema=write_json(dict(descriptor.settings_schema)),
    )


def _sight(sight: Sight) -> runtime_pb2.WatchRunResponse:
    if isinstance(sight, TextDelta):
        delta = runtime_pb2.TextDelta(step=sight.step, text=sight.text)
        return runtime_pb2.WatchRunResponse(delta=delta)
    response = _event(sight.event)
    response.sequence = sight.sequence
    response.create_time.CopyFrom(_timestamp(sight.create_time))
    return response


def _event(event: facts.Event) -> runtime_pb2.WatchRunResponse:
    match event:
        case facts.RunStarted():
            started = runtime_pb2.RunStarted(
                bundle=event.bundle,
                input=event.input,
                dry_run=event.dry_run,
                parent=facts.parent_of(event.callers),
                callers=[caller.account for caller in event.callers],
            )
            return runtime_pb2.WatchRunResponse(started=started)
        case facts.KnowledgeRetrieved():
            documents = dict.fromkeys(passage.document for passage in event.passages)
            retrieved = runtime_pb2.KnowledgeRetrieved(documents=documents)
            return runtime_pb2.WatchRunResponse(retrieved=retrieved)
        case facts.GenerationFinished():
            generated = runtime_pb2.GenerationFinished(
                step=event.step,
                text=event.text,
                calls=map(_call, event.calls),
                usages=_usages(event.usages),
                gas=event.gas,
            )
            return runtime_pb2.WatchRunResponse(generated=generated)
        case facts.ActionDecided():
            decided = runtime_pb2.ActionDecided(
                call=_call(event.call), decision=_DECISIONS[event.decision], rule=event.rule
            )
            return runtime_pb2.WatchRunResponse(decided=decided)
        case facts.EffectSent():
            sent = runtime_pb2.EffectSent(
                call_id=event.call_id, idempotency_key=event.idempotency_key, run=event.run
            )
            return runtime_pb2.WatchRunResponse(sent=sent)
        case facts.ApprovalAwaited():
            awaited = runtime_pb2.ApprovalAwaited(
                call=_call(event.call), approval=event.approval, rule=event.rule
            )
            return runtime_pb2.WatchRunResponse(awaited=awaited)
        case facts.ActionFinished():
            acted = runtime_pb2.ActionFinished(
                call_id=event.call_id,
                action=event.action,
                result=event.result,
                failed=bool(event.reason),
                gas=event.gas,
            )
            return runtime_pb2.WatchRunResponse(acted=acted)
        case facts.CancelRequested():
            return runtime_pb2.WatchRunResponse(cancel_requested=runtime_pb2.CancelRequested())
        case facts.RunFinished():
            finished = runtime_pb2.RunFinished(
                state=_STATES[event.outcome.state],
                answer=event.outcome.answer,
                failure=_failure(event.outcome.failure),
                receipt=_receipt(event.receipt),
            )
            return runtime_pb2.WatchRunResponse(finished=finished)


def _call(call: facts.ActionCall) -> action_pb2.ActionCall:
    return action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)


def _usages(usages: Sequence[facts.Usage]) -> list[action_pb2.Usage]:
    meter = action_pb2.Usage.Meter
    return [
        action_pb2.Usage(meter=meter.Value(f"METER_{usage.meter.upper()}"), amount=usage.amount)
        for usage in usages
    ]


def _receipt(receipt: facts.Receipt) -> action_pb2.Receipt:
    signature = receipt.signature
    assert signature is not None, "a run ends with a signed receipt"
    return action_pb2.Receipt(
        run=receipt.run,
        account=receipt.account,
        charges=[
            action_pb2.Charge(
                line=charge.line,
                item=charge.item,
                usages=_usages(charge.usages),
                gas=charge.gas,
                price_version=charge.price_version,
            )
            for charge in receipt.charges
        ],
        total_gas=receipt.total_gas,
        digest=action_pb2.Digest(sha256=receipt.sha256, size_bytes=receipt.size_bytes),
        signature=action_pb2.Signature(
            key=signature.key,
            algorithm=signature.algorithm,
            public_key=signature.public_key,
            value=signature.value,
        ),
    )
