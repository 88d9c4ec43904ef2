"""What the runtime refuses; what happens inside a run is data instead, see `facts.Failure`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chassis.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


@dataclass(eq=False)
class BundleInvalid(InvalidArgument):
    """A bundle is not what the assembler signed, or not what this runtime can execute."""

    reason = "BUNDLE_INVALID"
    message = "the bundle is refused: {problem}; assemble the agent again"

    problem: str


@dataclass(eq=False)
class BundleNotFound(NotFound):
    """The assembler does not have it."""

    reason = "BUNDLE_NOT_FOUND"
    message = "the assembler has no {bundle}; assemble it first"

    bundle: str


@dataclass(eq=False)
class RunNotFound(NotFound):
    """Nobody started it here."""

    reason = "RUN_NOT_FOUND"
    message = "there is no {run}; 'actionvm runs' lists those that exist"

    run: str


@dataclass(eq=False)
class RunUnfinished(FailedPrecondition):
    """Its receipt is signed at its end."""

    reason = "RUN_UNFINISHED"
    message = "{run} has not ended, so it has no signed receipt yet; watch it"

    run: str


@dataclass(eq=False)
class ApprovalNotFound(NotFound):
    """No call waits for it."""

    reason = "APPROVAL_NOT_FOUND"
    message = "nothing waits for {approval}; list the approvals again"

    approval: str


@dataclass(eq=False)
class ApprovalDecided(FailedPrecondition):
    """Somebody else was faster."""

    reason = "APPROVAL_DECIDED"
    message = "{approval} was decided before, in the other way"

    approval: str


@dataclass(eq=False)
class ArgumentsDiffer(FailedPrecondition):
    """Who decides has seen other arguments than those that wait."""

    reason = "ARGUMENTS_DIFFER"
    message = "the digest is not that of the arguments of {approval}; list the approvals again"

    approval: str


@dataclass(eq=False)
class RunsExceeded(ResourceExhausted):
    """Too many runs are open."""

    reason = "RUNS_EXCEEDED"
    message = "{runs_max} runs are open, and no more are allowed; wait, or cancel some"

    runs_max: int


@dataclass(eq=False)
class NotesExceeded(ResourceExhausted):
    """A run does not take notice of what it is told."""

    reason = "NOTES_EXCEEDED"
    message = "{run} has {notes_max} signals and requests before it, and takes no more; try later"

    run: str
    notes_max: int


@dataclass(eq=False)
class RunEnded(FailedPrecondition):
    """What is asked of a run comes too late."""

    reason = "RUN_ENDED"
    message = "{run} has ended and takes no signals; fork it to go on from one of its events"

    run: str


@dataclass(eq=False)
class ForkRefused(FailedPrecondition):
    """After this event a call was under way, or the run was about to end."""

    reason = "FORK_REFUSED"
    message = "{run} cannot be forked after event {sequence}; the last one before is {before}"

    run: str
    sequence: int
    before: int


@dataclass(eq=False)
class ForkRepeats(FailedPrecondition):
    """Nobody named the event to begin with, and from the last one on an effect would come twice."""

    reason = "FORK_REPEATS"
    message = (
        "the last event from which {run} can be forked is {sequence}, and {call} was done after it;"
        " to do it again, fork after event {sequence}"
    )

    run: str
    sequence: int
    call: str


class LeaseLost(Exception):
    """Another worker has taken a run over; this one must leave it alone."""


@dataclass(eq=False)
class LimitReached(Exception):
    """A window has no room; `used` is what was used of it before, from `oldest` on."""

    key: str
    used: int
    oldest: datetime | None = None


@dataclass(eq=False)
class JournalUnavailable(Unavailable):
    """The database of runs does not answer."""

    reason = "JOURNAL_UNAVAILABLE"
    message = "the journal does not answer; retry, and look at the disk or at PostgreSQL"


@dataclass(eq=False)
class ScheduleNotFound(NotFound):
    """Nobody made it here, or somebody has deleted it."""

    reason = "SCHEDULE_NOT_FOUND"
    message = "there is no {schedule}; 'actionvm schedules list' shows those that exist"

    schedule: str


@dataclass(eq=False)
class SchedulesExceeded(ResourceExhausted):
    """Each of them is looked after."""

    reason = "SCHEDULES_EXCEEDED"
    message = "there are {schedules_max} schedules, and no more are allowed; delete some"

    schedules_max: int


@dataclass(eq=False)
class WebhooksOff(FailedPrecondition):
    """Nobody listens to what would call the schedule."""

    reason = "WEBHOOKS_OFF"
    message = "the runtime takes no webhooks; set RUNTIME_WEBHOOK_ADDRESS and start it again"
