"""What the runtime answers, in the words of its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.errors import InvalidField

from . import facts
from .audience import Sight, TextDelta
from .comparing import Parting
from .connectors import Descriptor
from .effects import EffectState, SentEffect
from .journal.port import Run, Waiting
from .jsontext import write_json
from .replaying import Replayed

_STATES = {
    facts.State.PENDING: runtime_pb2.Run.STATE_PENDING,
    facts.State.RUNNING: runtime_pb2.Run.STATE_RUNNING,
    facts.State.PAUSED: runtime_pb2.Run.STATE_PAUSED,
    facts.State.SUCCEEDED: runtime_pb2.Run.STATE_SUCCEEDED,
    facts.State.FAILED: runtime_pb2.Run.STATE_FAILED,
    facts.State.CANCELLED: runtime_pb2.Run.STATE_CANCELLED,
}
_DECISIONS = {
    facts.Decision.ALLOW: runtime_pb2.ActionDecided.DECISION_ALLOW,
    facts.Decision.ASK: runtime_pb2.ActionDecided.DECISION_ASK,
    facts.Decision.DENY: runtime_pb2.ActionDecided.DECISION_DENY,
    facts.Decision.DRY_RUN: runtime_pb2.ActionDecided.DECISION_DRY_RUN,
}
_EFFECTS = {"read": action_pb2.Action.EFFECT_READ, "write": action_pb2.Action.EFFECT_WRITE}


def run_to_proto(run: Run) -> runtime_pb2.Run:
    """Return a run, as it travels."""
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
        origin=run.origin,
    )


def approval_to_proto(waiting: Waiting) -> runtime_pb2.Approval:
    """Return a call that waits for a person, as it travels."""
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


def catalogue_action_to_proto(descriptor: Descriptor) -> runtime_pb2.CatalogueAction:
    """Return an action of the catalogue, as it travels."""
    action = action_pb2.Action(
        name=descriptor.name,
        description=descriptor.description,
        parameters_schema=write_json(dict(descriptor.parameters_schema)),
        effect=_EFFECTS[descriptor.effect],
    )
    return runtime_pb2.CatalogueAction(
        action=action,
        needs_credential=descriptor.needs_credential,
        idempotent=descriptor.is_idempotent,
        reconcilable=descriptor.is_reconcilable,
        settings_schema=write_json(dict(descriptor.settings_schema)),
        output_schema=write_json(dict(descriptor.output_schema)),
    )


def sight_to_proto(sight: Sight) -> runtime_pb2.WatchRunResponse:
    """Return what a watcher sees, as it travels."""
    if isinstance(sight, TextDelta):
        delta = runtime_pb2.TextDelta(step=sight.step, text=sight.text)
        return runtime_pb2.WatchRunResponse(delta=delta)
    response = _event(sight.event)
    response.sequence = sight.sequence
    response.create_time.CopyFrom(_timestamp(sight.create_time))
    return response


def effect_to_proto(effect: SentEffect) -> runtime_pb2.Effect:
    """Return what became of an effect, as it travels."""
    return runtime_pb2.Effect(
        run=effect.run.name,
        account=effect.run.account,
        call_id=effect.call_id,
        action=effect.action,
        state=_EFFECT_STATES[effect.state],
        idempotency_key=effect.key,
        attempts=effect.attempts,
        create_time=_timestamp(effect.create_time),
        update_time=_timestamp(effect.update_time),
        reason=effect.reason,
    )


def effect_state(field: str, wanted: runtime_pb2.Effect.State.ValueType) -> EffectState | None:
    """Return the state that effects must have; None for any."""
    if wanted == runtime_pb2.Effect.STATE_UNSPECIFIED:
        return None
    states = {number: state for state, number in _EFFECT_STATES.items()}
    if wanted not in states:
        raise InvalidField(field, "is no state of an effect")
    return states[wanted]


_EFFECT_STATES = {
    EffectState.PENDING: runtime_pb2.Effect.STATE_PENDING,
    EffectState.SENT: runtime_pb2.Effect.STATE_SENT,
    EffectState.CONFIRMED: runtime_pb2.Effect.STATE_CONFIRMED,
    EffectState.FAILED: runtime_pb2.Effect.STATE_FAILED,
    EffectState.UNKNOWN: runtime_pb2.Effect.STATE_UNKNOWN,
}


def replayed_to_proto(replayed: Replayed) -> runtime_pb2.ReplayRunResponse:
    """Return an event of a replay, as it travels."""
    record, made = replayed.record, replayed.event
    return runtime_pb2.ReplayRunResponse(
        event=sight_to_proto(replace(record, event=made)) if made else None,
        same=not replayed.difference,
        sequence=record.sequence,
        difference=replayed.difference,
        journaled=sight_to_proto(record) if replayed.difference else None,
    )


def parting_to_proto(parting: Parting | None) -> runtime_pb2.DiffRunsResponse:
    """Return where two runs part, as it travels."""
    if parting is None:
        return runtime_pb2.DiffRunsResponse()
    return runtime_pb2.DiffRunsResponse(
        sequence=parting.sequence,
        difference=parting.difference,
        left=sight_to_proto(parting.left) if parting.left else None,
        right=sight_to_proto(parting.right) if parting.right else None,
    )


def _event(event: facts.Event) -> runtime_pb2.WatchRunResponse:
    match event:
        case facts.RunStarted():
            started = runtime_pb2.RunStarted(
                bundle=event.bundle,
                input=event.input,
                dry_run=event.dry_run,
                parent=facts.parent_of(event.callers),
                callers=[caller.account for caller in event.callers],
                origin=event.origin,
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
        case _:
            return _event_of_effect(event)


def _event_of_effect(event: facts.Event) -> runtime_pb2.WatchRunResponse:
    match event:
        case facts.EffectSent():
            sent = runtime_pb2.EffectSent(
                call_id=event.call_id, idempotency_key=event.idempotency_key, run=event.run
            )
            return runtime_pb2.WatchRunResponse(sent=sent)
        case facts.EffectDrafted():
            drafted = runtime_pb2.EffectDrafted(call_id=event.call_id)
            return runtime_pb2.WatchRunResponse(drafted=drafted)
        case facts.EffectUnsent():
            unsent = runtime_pb2.EffectUnsent(call_id=event.call_id)
            return runtime_pb2.WatchRunResponse(unsent=unsent)
        case facts.EffectUnknown():
            unknown = runtime_pb2.EffectUnknown(call_id=event.call_id)
            return runtime_pb2.WatchRunResponse(unknown=unknown)
        case _:
            return _event_of_waiting(event)


def _event_of_waiting(event: facts.Event) -> runtime_pb2.WatchRunResponse:
    match event:
        case facts.ApprovalDecided():
            approved = runtime_pb2.ApprovalDecided(
                call_id=event.call_id, allows=event.allows, who=event.who
            )
            return runtime_pb2.WatchRunResponse(approved=approved)
        case facts.SleepStarted():
            slept = runtime_pb2.SleepStarted(
                call_id=event.call_id, until=_timestamp(event.until), signal=event.signal
            )
            return runtime_pb2.WatchRunResponse(slept=slept)
        case facts.HostCalled():
            asked = runtime_pb2.HostCalled(
                call_id=event.call_id,
                calls=[_call(call) for call in event.calls],
                now=_timestamp(event.now),
            )
            return runtime_pb2.WatchRunResponse(asked=asked)
        case facts.CodeExecuted():
            executed = runtime_pb2.CodeExecuted(
                call_id=event.call_id,
                reason=event.reason,
                fuel=event.fuel,
                logs=event.logs,
                logs_dropped=event.logs_dropped,
                now=_timestamp(event.now),
            )
            return runtime_pb2.WatchRunResponse(executed=executed)
        case _:
            return _event_of_life(event)


def _event_of_life(event: facts.Event) -> runtime_pb2.WatchRunResponse:
    match event:
        case facts.CancelRequested():
            return runtime_pb2.WatchRunResponse(cancel_requested=runtime_pb2.CancelRequested())
        case facts.PauseRequested():
            return runtime_pb2.WatchRunResponse(pause_requested=runtime_pb2.PauseRequested())
        case facts.ResumeRequested():
            return runtime_pb2.WatchRunResponse(resume_requested=runtime_pb2.ResumeRequested())
        case facts.SignalSent():
            signalled = runtime_pb2.SignalSent(signal=event.signal, payload=event.payload)
            return runtime_pb2.WatchRunResponse(signalled=signalled)
        case facts.EndDecided():
            ending = runtime_pb2.EndDecided(
                state=_STATES[event.outcome.state],
                answer=event.outcome.answer,
                failure=_failure(event.outcome.failure),
            )
            return runtime_pb2.WatchRunResponse(ending=ending)
        case facts.RunFinished():
            finished = runtime_pb2.RunFinished(
                state=_STATES[event.outcome.state],
                answer=event.outcome.answer,
                failure=_failure(event.outcome.failure),
                receipt=receipt_to_proto(event.receipt),
            )
            return runtime_pb2.WatchRunResponse(finished=finished)
        case _:
            raise AssertionError(event)


def _call(call: facts.ActionCall) -> action_pb2.ActionCall:
    return action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)


def _usages(usages: Sequence[facts.Usage]) -> list[action_pb2.Usage]:
    meter = action_pb2.Usage.Meter
    return [
        action_pb2.Usage(meter=meter.Value(f"METER_{usage.meter.upper()}"), amount=usage.amount)
        for usage in usages
    ]


def receipt_to_proto(receipt: facts.Receipt) -> action_pb2.Receipt:
    """Return a signed receipt, as it travels."""
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
