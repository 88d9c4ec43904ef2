"""What a run comes to, folded from its events: the summary that its row has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..encoding import encode_outcome
from ..facts import (
    ActionFinished,
    Event,
    GenerationFinished,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    State,
)
from .port import NewRun


def first_events(new: NewRun) -> tuple[Event, ...]:
    """Return the events that a run begins with."""
    started = RunStarted(new.bundle, new.input, new.dry_run, new.callers, new.origin)
    return started, *new.history


@dataclass(slots=True)
class Head:
    """A run as its writer needs it."""

    number: int
    name: str
    account: str
    request_id: str
    content_sha256: str
    worker: str
    epoch: int
    sequence: int
    state: str
    step_count: int
    gas: int
    end_time: str | None
    # Where it has just ended.
    outcome: bytes | None = None

    def inherit(self, event: Event) -> None:
        """Take in an event of the run that this one is a fork of: what it has cost counts there."""
        self.sequence += 1
        if isinstance(event, GenerationFinished):
            self.step_count = event.step
        elif isinstance(event, PauseRequested):
            self.state = State.PAUSED
        elif isinstance(event, ResumeRequested):
            self.state = State.PENDING

    def take_in(self, event: Event, now: datetime) -> None:
        """Take in an event that follows."""
        assert self.end_time is None, "nothing happens after the end of a run"
        self.sequence += 1
        if self.state == State.PENDING:
            self.state = State.RUNNING
        match event:
            case GenerationFinished():
                self.step_count = event.step
                self.gas += event.gas
            case ActionFinished():
                self.gas += event.gas
            case PauseRequested():
                self.state = State.PAUSED
            case ResumeRequested():
                self.state = State.RUNNING
            case RunFinished():
                self.state = event.outcome.state
                self.gas = event.receipt.total_gas
                self.end_time = now.isoformat()
                self.outcome = encode_outcome(event.outcome)
