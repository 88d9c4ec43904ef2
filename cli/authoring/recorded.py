"""Answers what an action asks from what was recorded, and notes the first call that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.canonical import Json
from sandbox.outcome import Described
from sandbox.ports import Answer, Asked

from .cases import ExpectedCall
from .differences import Difference, is_same, shown

# What an action is told whose call was not recorded.
UNEXPECTED = "UNEXPECTED_CALL"
# How long each answer seems to take.
ANSWER_SECONDS = 1.0


@dataclass(eq=False)
class RecordedHost:
    """A host with the answers of one case."""

    action: Described
    calls: Sequence[ExpectedCall]
    start: float
    time: float = 0.0
    count: int = 0
    difference: Difference | None = None

    def begin(self) -> None:
        """Answer from the start."""
        self.time, self.count, self.difference = self.start, 0, None

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Give each call the answer of its turn; after one that differs, there are no others."""
        answers = [self._answer(one) for one in calls]
        self.time += ANSWER_SECONDS
        return answers

    def now(self) -> float:
        """Return when the last answer was given, or the start."""
        return self.time

    def missing(self) -> Difference | None:
        """Return which calls were expected and not made."""
        left = self.calls[self.count :]
        if not left or self.difference:
            return None
        told = [f"{one.action} {_expected_text(one)}".strip() for one in left]
        return Difference(f"only {self.count} of {len(self.calls)} calls were made", told, [])

    def _answer(self, asked: Asked) -> Answer:
        self.difference = self.difference or self._compare(asked)
        if self.difference:
            return Answer(reason=UNEXPECTED, message=self.difference.about)
        expected = self.calls[self.count]
        self.count += 1
        if expected.refusal:
            return Answer(reason=expected.refusal.reason, message=expected.refusal.message)
        return Answer(expected.answer)

    def _compare(self, asked: Asked) -> Difference | None:
        number, name = self.count + 1, asked.action
        made = [f"action: {name}", *shown(asked.arguments)]
        if name not in self.action.capabilities:
            about = f"call {number} is of {name}, which is none of the capabilities"
            return Difference(f"{about} of {self.action.name}", [*self.action.capabilities], [name])
        if self.count >= len(self.calls):
            return Difference(f"call {number} is not expected", [], made)
        expected = self.calls[self.count]
        arguments: Json = asked.arguments
        wanted: Json = expected.arguments
        if expected.include is not None:
            wanted, arguments = expected.include, _part(asked.arguments, expected.include)
        is_any = expected.arguments is None and expected.include is None
        if name == expected.action and (is_any or is_same(wanted, arguments)):
            return None
        told = [f"action: {expected.action}", *([] if is_any else shown(wanted))]
        made = [f"action: {name}", *([] if is_any else shown(arguments))]
        return Difference(f"call {number} is different", told, made)


def _part(value: Json, pattern: Json) -> Json:
    """Return of a value what a pattern speaks of: of mappings only its names, at any depth."""
    if not isinstance(value, Mapping) or not isinstance(pattern, Mapping):
        return value
    return {name: _part(value[name], one) for name, one in pattern.items() if name in value}


def _expected_text(call: ExpectedCall) -> str:
    wanted = call.include if call.arguments is None else call.arguments
    return " ".join(line.strip() for line in shown(wanted)) if wanted else ""
