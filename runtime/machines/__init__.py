"""What runs do, as pure state machines over their journals; the performance does what they want.

A machine folds the events of a run into a state and says of a state which facts follow from it by
reasoning alone, and which effects may be under way. So a run that is resumed, replayed or forked
takes the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from ..facts import (
    ActionFinished,
    CodeExecuted,
    EndDecided,
    Event,
    GenerationFinished,
    KnowledgeRetrieved,
)
from .calls import Calls
from .effects import Effect
from .life import Life


class Progress(Protocol):
    """What every state of a run has."""

    @property
    def life(self) -> Life:
        """Return where the run is in its life."""

    @property
    def calls(self) -> Calls:
        """Return the calls of the run."""


State = TypeVar("State", bound=Progress)


class Machine(Protocol[State]):
    """One kind of program; its states are frozen."""

    def begin(self) -> State:
        """Return the state before the first event."""

    def apply(self, state: State, event: Event) -> State:
        """Return the state after one more event."""

    def follow(self, state: State, now: datetime) -> Event | None:
        """Return the next fact that follows from a state at a time; None if none does."""

    def wanted(self, state: State) -> tuple[Effect, ...]:
        """Return what may be under way in a state from which no fact follows."""

    def encode(self, state: State) -> bytes:
        """Return a state as text, for a snapshot."""

    def decode(self, text: bytes) -> State | None:
        """Return the state that `encode` was given; None if that was another release."""


def fold(machine: Machine[State], events: Iterable[Event]) -> State:
    """Return the state after events."""
    state = machine.begin()
    for event in events:
        state = machine.apply(state, event)
    return state


def is_moot(event: Event, state: Progress) -> bool:
    """Tell whether an event came together with the end of the run, which no longer wanted it."""
    if state.life.ending is None:
        return False
    if isinstance(event, ActionFinished):
        return not any(one.is_sent for one in state.calls.open if one.call.id == event.call_id)
    return isinstance(event, CodeExecuted | EndDecided | GenerationFinished | KnowledgeRetrieved)
