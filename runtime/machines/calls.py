"""The calls of a run: policy decides about each, people where it asks them, then they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..connectors.waiting import SLEEP, WAIT
from ..facts import (
    UNKNOWN,
    ActionCall,
    ActionDecided,
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    CodeExecuted,
    Decision,
    EffectDrafted,
    EffectSent,
    EffectUnknown,
    EffectUnsent,
    Event,
    HostCalled,
    Outcome,
    SignalSent,
    SleepStarted,
)
from ..frozen import replace
from ..jsontext import read_json, write_json
from ..policy import Facts, decide, decided_arguments
from ..program import Program, ProgramAction
from .effects import Act, Close, Sleep

# That no call has waited for yet; of more, the oldest are forgotten.
SIGNALS_MAX = 100


@dataclass(frozen=True)
class Call:
    """How far a call has come."""

    call: ActionCall
    decided: ActionDecided | None = None
    # The last question to a person, and the answer to that of the agent's own policy.
    awaited: ApprovalAwaited | None = None
    approved: ApprovalDecided | None = None
    is_sent: bool = False
    # What was sent last has certainly not happened; or nobody knows what came of it.
    is_unsent: bool = False
    is_unknown: bool = False
    # When what may have happened was first sent, and what its connector has laid down since.
    first_time: datetime | None = None
    draft: str = ""
    sleep: SleepStarted | None = None
    # What its code has asked for so far, and how that ended.
    asked: tuple[HostCalled, ...] = ()
    executed: CodeExecuted | None = None
    # The call whose code has made it; empty if no code did.
    parent: str = ""
    finished: ActionFinished | None = None

    @property
    def is_lost(self) -> bool:
        """Tell whether nobody knows, and nobody ever will, whether it happened."""
        return self.finished is not None and self.finished.reason == UNKNOWN


@dataclass(frozen=True)
class Calls:
    """All calls of a run, in the order in which they were made."""

    # Without a result.
    open: tuple[Call, ...] = ()
    done: tuple[Call, ...] = ()
    # Calls of code that have a result, while it is executed; those that are lost stay.
    answered: tuple[Call, ...] = ()
    # How many calls of each action were not denied.
    allowed: Mapping[str, int] = field(default_factory=dict)
    # Actions that have succeeded.
    succeeded: tuple[str, ...] = ()
    signals: tuple[SignalSent, ...] = ()
    # Calls that will be made at a time, and not before.
    later: Mapping[str, datetime] = field(default_factory=dict)

    def made(self, calls: tuple[ActionCall, ...]) -> Calls:
        """Return the calls with some more."""
        names = {call.id for call in calls}
        later = {name: time for name, time in self.later.items() if name not in names}
        return replace(self, open=(*self.open, *map(Call, calls)), later=later)

    def apply(self, event: Event) -> Calls:
        """Return the calls after one more event."""
        match event:
            case ActionDecided(call=call):
                if event.decision != Decision.DENY:
                    count = self.allowed.get(call.action, 0) + 1
                    self = replace(self, allowed={**self.allowed, call.action: count})  # noqa: PLW0642  # it is a fold
                return self._with(call.id, lambda it: replace(it, decided=event))
            case EffectSent() | EffectDrafted() | EffectUnsent() | EffectUnknown():
                return self._with(event.call_id, lambda it: _stand(it, event))
            case ApprovalAwaited(call=call):
                return self._with(call.id, lambda it: replace(it, awaited=event))
            case ApprovalDecided():
                return replace(self, open=tuple(_answered(one, event) for one in self.open))
            case SleepStarted():
                return self._sleep_until(event)
            case HostCalled() | CodeExecuted():
                return self._code(event)
            case SignalSent():
                return replace(self, signals=(*self.signals, event)[-SIGNALS_MAX:])
            case ActionFinished():
                return self._finish(event)
            case _:
                return self

    def _sleep_until(self, event: SleepStarted) -> Calls:
        if any(one.call.id == event.call_id for one in self.open):
            return self._with(event.call_id, lambda it: replace(it, sleep=event))
        return replace(self, later={**self.later, event.call_id: event.until})

    def _code(self, event: HostCalled | CodeExecuted) -> Calls:
        """Return the calls after code has asked for some, or has ended."""
        if isinstance(event, CodeExecuted):
            return self._with(event.call_id, lambda it: replace(it, executed=event))
        made = (Call(call, parent=event.call_id) for call in event.calls)
        asking = self._with(event.call_id, lambda it: replace(it, asked=(*it.asked, event)))
        return replace(asking, open=(*asking.open, *made))

    def _with(self, call_id: str, change: Callable[[Call], Call]) -> Calls:
        assert any(one.call.id == call_id for one in self.open), "an open call is meant"
        return replace(
            self, open=tuple(change(one) if one.call.id == call_id else one for one in self.open)
        )

    def _finish(self, event: ActionFinished) -> Calls:
        (ended,) = (one for one in self.open if one.call.id == event.call_id)
        signals = self.signals
        if ended.sleep and ended.sleep.signal and not event.reason:
            heard = _signal(signals, ended.sleep.signal)
            signals = tuple(one for one in signals if one is not heard)
        succeeded = self.succeeded
        if not event.reason and event.action not in succeeded:
            succeeded = (*succeeded, event.action)
        ended = replace(ended, finished=event)
        # Nobody asks for the results of code that has ended.
        answered = tuple(one for one in self.answered if one.parent != event.call_id or one.is_lost)
        return replace(
            self,
            open=tuple(one for one in self.open if one.call.id != event.call_id),
            done=self.done if ended.parent else (*self.done, ended),
            answered=(*answered, ended) if ended.parent else answered,
            succeeded=succeeded,
            signals=signals,
        )

    def asked(self, call_id: str) -> tuple[HostCalled, ...]:
        """Return what the code of a call has asked for so far."""
        return next((one.asked for one in self.open if one.call.id == call_id), ())

    def results(self, call_ids: Sequence[str]) -> list[ActionFinished] | None:
        """Return the results of calls of code; None while one of them is missing."""
        found = {one.call.id: one.finished for one in self.answered if one.finished}
        if not all(name in found for name in call_ids):
            return None
        return [found[name] for name in call_ids]

    def current(self, act: Act) -> Act:
        """Return a call that was wanted as far as it has come by now."""
        found = next((one for one in self.open if one.call.id == act.call.id), None)
        if found is None:
            return act
        return replace(
            act,
            is_sent=found.is_sent,
            is_unsent=found.is_unsent,
            is_unknown=found.is_unknown,
            first_time=found.first_time,
            draft=found.draft,
        )

    def close(self, outcome: Outcome) -> Close:
        """Return the end of the run, which names the calls that nobody can tell of."""
        unknown = [one.call for one in (*self.done, *self.answered) if one.is_lost]
        if not unknown or outcome.failure is None:
            return Close(outcome)
        named = ", ".join(f"{call.id} ({call.action})" for call in unknown)
        message = f"{outcome.failure.message}; whether {named} happened is not known"
        return Close(replace(outcome, failure=replace(outcome.failure, message=message)))

    def follow(self, program: Program, now: datetime, *, dry_run: bool) -> Event | None:
        """Return the next fact that follows about a call."""
        facts = (self._fact(program, one, now, dry_run=dry_run) for one in self.open)
        return next((fact for fact in facts if fact), None)

    def wanted(self, program: Program, *, is_ending: bool) -> Iterator[Act | Sleep]:
        """Yield what may be under way; once a run ends, only what was sent."""
        for one in self.open:
            if is_ending and not one.is_sent:
                continue
            if one.sleep:
                yield Sleep(one.call.id, one.sleep.until)
            elif not _waits_for_person(one):
                is_dry = bool(one.decided and one.decided.decision == Decision.DRY_RUN)
                act = Act(one.call, _action(program, one), one.is_sent, is_dry)
                yield self.current(act)

    def _fact(self, program: Program, one: Call, now: datetime, *, dry_run: bool) -> Event | None:
        if one.decided is None:
            # Only code may use what code was granted.
            is_meant = bool(one.parent) == ("/" in one.call.action)
            action = program.action(one.call.action) if is_meant else None
            count = self.allowed.get(one.call.action, 0)
            verdict = decide(
                one.call, action, allowed_count=count, dry_run=dry_run, facts=Facts(now)
            )
            return ActionDecided(one.call, verdict.decision, verdict.rule)
        if one.decided.decision == Decision.DENY:
            return _refused(one, "DENIED", one.decided.rule)
        if one.decided.decision == Decision.ASK and one.awaited is None:
            return ApprovalAwaited(one.call, "", one.decided.rule)
        if one.approved and not one.approved.allows:
            return _refused(one, "DENIED", "a person has denied it")
        if _waits_for_person(one):
            return None
        if done := one.executed:
            return ActionFinished(
                one.call.id, one.call.action, done.result, gas=done.gas, reason=done.reason
            )
        return self._sleep(one, _action(program, one), now)

    def _sleep(self, one: Call, action: ProgramAction, now: datetime) -> Event | None:
        if one.sleep is None:
            if action.catalogue_name not in {SLEEP, WAIT}:
                return None
            arguments = decided_arguments(one.call)
            seconds, signal = arguments["seconds"], arguments.get("signal", "")
            assert isinstance(seconds, int | float), "arguments are valid under the schema"
            until = now + timedelta(seconds=seconds)
            return SleepStarted(one.call.id, until, str(signal))
        signal = one.sleep.signal
        if signal and (heard := _signal(self.signals, signal)):
            told = {"signal": signal, "payload": read_json(heard.payload)}
            return ActionFinished(one.call.id, action.name, write_json(told), gas=0)
        if now < one.sleep.until:
            return None
        if signal:
            return _refused(one, "SIGNAL_MISSING", f"{signal} did not come in time")
        return ActionFinished(one.call.id, action.name, write_json({"slept": True}), gas=0)


def _stand(one: Call, event: EffectSent | EffectDrafted | EffectUnsent | EffectUnknown) -> Call:
    """Return a call after it was sent, or after it is known what came of that, or not."""
    match event:
        case EffectSent():
            first_time = one.first_time or event.time
            return replace(one, is_sent=True, is_unsent=False, first_time=first_time)
        case EffectDrafted():
            return replace(one, draft=event.draft)
        case EffectUnsent():
            # The next one is the first that may happen.
            return replace(one, is_unsent=True, is_unknown=False, first_time=None)
        case EffectUnknown():
            return replace(one, is_unknown=True)


def _answered(one: Call, event: ApprovalDecided) -> Call:
    """Return a call with the answer to its question, which binds its exact arguments."""
    asked = one.awaited
    is_meant = (
        one.call.id == event.call_id
        and one.approved is None
        and asked is not None
        and not asked.approval
        and asked.arguments_sha256 == event.arguments_sha256
    )
    return replace(one, approved=event) if is_meant else one


def _waits_for_person(one: Call) -> bool:
    return bool(one.decided and one.decided.decision == Decision.ASK and one.approved is None)


def _action(program: Program, one: Call) -> ProgramAction:
    action = program.action(one.call.action)
    assert action is not None, "what is not an action is denied"
    return action


def _refused(one: Call, reason: str, message: str) -> ActionFinished:
    told = write_json({"error": reason, "message": message})
    return ActionFinished(one.call.id, one.call.action, told, gas=0, reason=reason)


def _signal(signals: tuple[SignalSent, ...], name: str) -> SignalSent | None:
    return next((one for one in signals if one.signal == name), None)
