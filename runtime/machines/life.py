"""Where a run is in its life, whatever it executes."""

from __future__ import annotations

from dataclasses import dataclass

from ..facts import (
    CancelRequested,
    EndDecided,
    Event,
    Outcome,
    PauseRequested,
    ResumeRequested,
    RunFinished,
    RunStarted,
    State,
)
from ..frozen import replace

_OF_LIFE = (
    RunStarted,
    PauseRequested,
    ResumeRequested,
    CancelRequested,
    EndDecided,
    RunFinished,
)


def is_of_life(event: Event) -> bool:
    """Tell whether an event changes the life of a run, and none of its calls."""
    return isinstance(event, _OF_LIFE)


@dataclass(frozen=True)
class Life:
    """What outsiders asked for, and how the run ends."""

    input: str = ""
    dry_run: bool = False
    is_paused: bool = False
    is_cancel_requested: bool = False
    # Nothing new begins after it is decided.
    ending: Outcome | None = None
    finished: RunFinished | None = None

    def apply(self, event: Event) -> Life:
        """Return the life after one more event."""
        assert self.finished is None, "nothing happens after the end of a run"
        match event:
            case RunStarted():
                return replace(self, input=event.input, dry_run=event.dry_run)
            case PauseRequested():
                return replace(self, is_paused=True)
            case ResumeRequested():
                return replace(self, is_paused=False)
            case CancelRequested():
                return replace(self, is_cancel_requested=True)
            case EndDecided():
                assert self.ending is None, "an end is decided once"
                return replace(self, ending=event.outcome)
            case RunFinished():
                return replace(self, finished=event)
            case _:
                return self

    def follow(self) -> EndDecided | None:
        """Return that the run will be cancelled, if that follows."""
        if self.is_cancel_requested and self.ending is None:
            return EndDecided(Outcome(State.CANCELLED))
        return None
