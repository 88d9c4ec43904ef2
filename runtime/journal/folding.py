"""What the rows of a run say, folded from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chassis.canonical import sha256_hex

from ..facts import (
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    Event,
    Failure,
    GenerationFinished,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    State,
    decode,
    decode_callers,
    encode,
)
from .port import NewRun, Record, Run

# Facts above this size are kept once, beside the journal.
BLOB_BYTES_MIN = 16 * 1024


@dataclass
class Summary:
    """What events change of what people see; None is no change."""

    state: str | None = None
    answer: str | None = None
    failure_reason: str | None = None
    failure_message: str | None = None
    step_count: int | None = None
    gas_more: int = 0
    # Of a run that has ended, whatever was counted before.
    gas: int | None = None
    end_time: str | None = None

    def add(self, event: Event, time: str) -> None:
        """Take one more event into account."""
        match event:
            case GenerationFinished():
                self.step_count = event.step
                self.gas_more += event.gas
            case ActionFinished():
                self.gas_more += event.gas
            case PauseRequested():
                self.state = State.PAUSED
            case ResumeRequested():
                self.state = State.RUNNING
            case RunFinished():
                outcome = event.outcome
                self.state, self.answer, self.end_time = outcome.state, outcome.answer, time
                self.gas = event.receipt.total_gas
                if outcome.failure:
                    self.failure_reason = outcome.failure.reason
                    self.failure_message = outcome.failure.message


@dataclass(frozen=True)
class Encoded:
    """An event as the journal keeps it."""

    sequence: int
    kind: str
    fact: bytes
    blob: str | None = None

    @property
    def content(self) -> bytes:
        """Return what is kept in the row."""
        return b"" if self.blob else self.fact


def encode_events(events: Iterable[Event], *, sequence: int) -> list[Encoded]:
    """Return events as the journal keeps them, from a sequence on."""
    return [_encode(event, number) for number, event in enumerate(events, start=sequence)]


def _encode(event: Event, sequence: int) -> Encoded:
    kind, fact = encode(event)
    return Encoded(sequence, kind, fact, sha256_hex(fact) if len(fact) > BLOB_BYTES_MIN else None)


def first_events(new: NewRun) -> tuple[Event, ...]:
    """Return the events that a run begins with."""
    started = RunStarted(new.bundle, new.input, new.dry_run, new.callers, new.origin)
    return started, *new.history


def approvals_of(run: str, events: Iterable[Event], *, sequence: int) -> list[tuple[str, int, str]]:
    """Return what changes of the calls that wait: call, sequence of the question, approval.

    Where the sequence is 0, the call waits no longer; a call without a name is all of them.
    """
    changes: list[tuple[str, int, str]] = []
    for number, event in enumerate(events, start=sequence):
        match event:
            case ApprovalAwaited(call=call):
                changes.append((call.id, number, event.approval or f"{run}/approvals/{call.id}"))
            case ApprovalDecided() | ActionFinished():
                changes.append((event.call_id, 0, ""))
            case RunFinished():
                changes.append(("", 0, ""))
    return changes


RUN_COLUMNS = (
    "number, name, bundle, account, state, input, answer, failure_reason, failure_message, "
    "step_count, gas, dry_run, create_time, end_time, callers, deadline, approval, origin, sequence"
)


def read_run(row: Any) -> Run:  # noqa: ANN401  # a row of either driver
    """Return the run of a row of `RUN_COLUMNS`."""
    (
        number, name, bundle, account, state, input_, answer, reason, message,
        steps, gas, dry_run, created, ended, callers, deadline, approval, origin, sequence,
    ) = row  # fmt: skip
    return Run(
        number=number,
        name=name,
        bundle=bundle,
        account=account,
        state=State(state),
        input=input_,
        answer=answer,
        failure=Failure(reason, message) if reason else None,
        step_count=steps,
        gas=gas,
        dry_run=bool(dry_run),
        create_time=read_time(created),
        end_time=read_time(ended) if ended else None,
        callers=decode_callers(callers),
        deadline=read_time(deadline) if deadline else None,
        approval=approval,
        origin=origin,
        sequence=sequence,
    )


def read_record(row: Any) -> Record:  # noqa: ANN401  # a row of either driver
    """Return the record of a row: sequence, time, kind, fact, content of its blob."""
    sequence, created, kind, fact, blob = row
    return Record(sequence, read_time(created), decode(kind, blob if blob is not None else fact))


def read_time(text: str) -> datetime:
    """Return the time of a row."""
    return datetime.fromisoformat(text).astimezone(UTC)
