"""What became of the effects of runs, folded from their journals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from .facts import UNKNOWN, ActionFinished, EffectSent, EffectUnknown, EffectUnsent
from .journal.port import Record, Run


class EffectState(StrEnum):
    """How far an effect is."""

    # What was sent has certainly not happened; it is sent again.
    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    # Nobody knows, so far or for good.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class SentEffect:
    """A call that was sent to a service, at least once."""

    run: Run
    call_id: str
    action: str
    key: str
    state: EffectState
    attempts: int
    # When it was sent first, and when something was last known of it.
    create_time: datetime
    update_time: datetime
    # Why it failed.
    reason: str = ""


def effects_of(run: Run, records: Iterable[Record]) -> list[SentEffect]:
    """Return the effects of a run in the order in which they were sent.

    Calls of other agents are runs of their own, and what a fork began with is another run's.
    """
    found: dict[str, SentEffect] = {}
    for record in records:
        match record.event:
            case EffectSent(run="") as sent if sent.idempotency_key.startswith(f"{run.name}/"):
                found[sent.call_id] = _sent(run, sent, record, found.get(sent.call_id))
            case EffectUnsent(call_id=call_id) if call_id in found:
                found[call_id] = _known(found[call_id], record, EffectState.PENDING)
            case EffectUnknown(call_id=call_id) if call_id in found:
                found[call_id] = _known(found[call_id], record, EffectState.UNKNOWN)
            case ActionFinished() as finished if finished.call_id in found:
                ended = _known(found[finished.call_id], record, _end(finished))
                found[finished.call_id] = replace(
                    ended, action=finished.action, reason=finished.reason
                )
            case _:
                pass
    return [*found.values()]


def _sent(run: Run, sent: EffectSent, record: Record, before: SentEffect | None) -> SentEffect:
    if before is not None:
        again = replace(before, attempts=before.attempts + 1)
        return _known(again, record, EffectState.SENT)
    return SentEffect(
        run=run,
        call_id=sent.call_id,
        action=sent.action,
        key=sent.idempotency_key,
        state=EffectState.SENT,
        attempts=1,
        create_time=record.create_time,
        update_time=record.create_time,
    )


def _known(effect: SentEffect, record: Record, state: EffectState) -> SentEffect:
    return replace(effect, state=state, update_time=record.create_time)


def _end(finished: ActionFinished) -> EffectState:
    if not finished.reason:
        return EffectState.CONFIRMED
    return EffectState.UNKNOWN if finished.reason == UNKNOWN else EffectState.FAILED
