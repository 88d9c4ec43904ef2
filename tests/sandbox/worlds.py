"""Sandboxes of tests, and the hosts that answer in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import dedent
from typing import Any

from chassis.canonical import Json
from sandbox.limits import Limits
from sandbox.outcome import Outcome
from sandbox.ports import Answer, Asked, Code, Executable, Order, Sandbox

HEAD = """\
from __future__ import annotations
from typing import Any
from actionvm_sdk import Call, CallError, Context, Denied, action

"""


@dataclass
class RecordingHost:
    """A host that answers by a function, and remembers what it was asked."""

    answer: Callable[[Asked], Answer] = lambda asked: Answer({"asked": asked.action})
    asked: list[Asked] = field(default_factory=list)
    time: float = 1_767_225_600.0
    begun_count: int = 0

    def begin(self) -> None:
        self.begun_count += 1

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        self.asked += calls
        self.time += 1
        return [self.answer(one) for one in calls]

    def now(self) -> float:
        return self.time


def code(body: str, files: Mapping[str, str] | None = None) -> Code:
    """Return code with the usual imports, and files beside it."""
    return Code("act.py", {"act.py": HEAD + dedent(body), **(files or {})})


def acting(body: str) -> Code:
    """Return code with one action `act(ctx)` that has this body."""
    lines = dedent(body).strip().splitlines()
    text = "\n".join(f"    {line}" for line in lines)
    return code(f"@action\ndef act(ctx: Context) -> Any:\n{text}\n")


async def execute(
    sandbox: Sandbox,
    what: Executable,
    *,
    host: RecordingHost | None = None,
    action: str = "act",
    arguments: Mapping[str, Json] | None = None,
    seed: int = 1,
    **limits: Any,  # noqa: ANN401  # fields of `Limits`
) -> Outcome:
    """Execute an action of code."""
    order = Order(action, arguments or {}, seed, replace(Limits(), **limits))
    return await sandbox.execute(what, order, host or RecordingHost())
