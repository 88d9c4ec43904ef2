"""A world for machines alone: it does what is wanted, in any order, and asks for things itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from runtime.facts import (
    ActionCall,
    ActionFinished,
    ApprovalDecided,
    EffectSent,
    Event,
    GenerationFinished,
    KnowledgeRetrieved,
    Passage,
    Receipt,
    RunFinished,
    RunStarted,
)
from runtime.journal.port import Record
from runtime.machines import Machine, State
from runtime.machines.effects import (
    Act,
    Close,
    Effect,
    Generate,
    Retrieve,
    Sleep,
    prompt_sha256,
)

BILL = Receipt("runs/1", "agents/a", (), 0, "", 0)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Player:
    """Plays a machine to its end.

    `choices` say which of the things that may happen comes next, `refusals` which calls fail, and
    `said` what outsiders say before which event of the journal.
    """

    model: list[Any]
    choices: list[int] = field(default_factory=list)
    refusals: list[bool] = field(default_factory=list)
    said: dict[int, Event] = field(default_factory=dict)
    allows: bool = True
    dry_run: bool = False

    def play(self, machine: Machine[State]) -> list[Event]:
        """Return the events of a run."""
        return [record.event for record in self.records(machine)]

    def records(self, machine: Machine[State]) -> list[Record]:
        """Return the journal of a run."""
        journal: list[Record] = []
        state = machine.begin()
        now = START

        def record(event: Event) -> None:
            nonlocal state
            journal.append(Record(len(journal) + 1, now, event))
            state = machine.apply(state, event)
            while fact := machine.follow(state, now):
                journal.append(Record(len(journal) + 1, now, fact))
                state = machine.apply(state, fact)

        record(RunStarted("bundles/1", '"hello"', self.dry_run))
        while state.life.finished is None:
            if event := self._said(len(journal)):
                record(event)
                continue
            answers = self._answers(state)
            effects = machine.wanted(state)
            keys = [effect.key for effect in effects]
            assert len(keys) == len(set(keys))
            happening: Sequence[Effect | Event] = [*effects, *answers]
            assert happening, "a run that has not ended wants something, or waits for somebody"
            chosen = happening[self._choose(len(happening))]
            if isinstance(chosen, Sleep):
                now = max(now, chosen.until) + timedelta(seconds=0)
                fact = machine.follow(state, now)
                assert fact is not None
                record(fact)
            elif isinstance(chosen, Act | Close | Generate | Retrieve):
                for event in self._do(chosen):
                    record(event)
            else:
                record(chosen)
        return journal

    def _said(self, length: int) -> Event | None:
        due = [place for place in self.said if place <= length]
        return self.said.pop(due[0]) if due else None

    def _answers(self, state: Any) -> list[Event]:  # noqa: ANN401  # any machine's
        """Return what people may answer now."""
        if state.life.ending:
            return []
        return [
            ApprovalDecided(one.call.id, one.awaited.arguments_sha256, self.allows, "alice")
            for one in state.calls.open
            if one.awaited and not one.approved
        ]

    def _choose(self, count: int) -> int:
        return self.choices.pop(0) % count if self.choices else 0

    def _do(self, effect: Effect) -> list[Event]:
        match effect:
            case Retrieve():
                return [KnowledgeRetrieved((Passage("a", "b"),))]
            case Generate():
                text, wanted = self.model.pop(0) if self.model else ("done", [])
                calls = tuple(
                    ActionCall(f"step-{effect.step}-{number}", *call)
                    for number, call in enumerate(wanted, start=1)
                )
                return [GenerationFinished(effect.step, text, calls, (), 0, prompt_sha256(effect))]
            case Act() if effect.action.effect == "write" and not (effect.is_sent or effect.is_dry):
                return [EffectSent(effect.call.id, "key")]
            case Act():
                reason = "REFUSED" if self.refusals and self.refusals.pop(0) else ""
                return [ActionFinished(effect.call.id, effect.call.action, "{}", 0, reason)]
            case Close():
                return [RunFinished(effect.outcome, BILL)]
        raise AssertionError(effect)
