"""Executing code again with the answers that it had: it must do the same, to the instruction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from sandbox.ports import Answer, Asked, Order, Sandbox

from .executing import Diverged, answer_of, limits_of, logs_of, made_by, told_of
from .facts import ActionCall, ActionDecided, ActionFinished, CodeExecuted, HostCalled
from .journal.port import Record
from .policy import decided_arguments
from .program import Program, ProgramCode
from .replaying import Replayed


async def with_code_again(
    found: Iterable[Replayed], sandbox: Sandbox | None, program: Program
) -> AsyncIterator[Replayed]:
    """Yield a replay in which the code of calls is executed as well, up to the first difference."""
    records: list[Record] = []
    for one in found:
        records.append(one.record)
        if isinstance(one.record.event, CodeExecuted) and not one.difference:
            difference = await _differs(sandbox, program, records, one.record.event)
            yield Replayed(one.record, one.event, difference)
            if difference:
                return
        else:
            yield one


async def _differs(
    sandbox: Sandbox | None, program: Program, records: Sequence[Record], ended: CodeExecuted
) -> str:
    """Return how an execution differs from the one that is kept; empty if it does not."""
    if sandbox is None:
        return "this runtime executes no code"
    call = next(
        record.event.call
        for record in reversed(records)
        if isinstance(record.event, ActionDecided) and record.event.call.id == ended.call_id
    )
    action = program.action(call.action)
    assert action is not None, "it was executed"
    assert action.code is not None, "it was executed"
    host = _Kept(call, records, ended)
    order = _order(action.code, call, ended)
    try:
        outcome = await sandbox.execute(action.code.executable, order, host)
    except Diverged:
        return "the code asks its host for something else"
    made = (*told_of(outcome), outcome.fuel, logs_of(outcome))
    kept = (ended.reason, ended.result, ended.fuel, ended.logs)
    if made == kept:
        return ""
    names = ("reason", "result", "fuel", "logs")
    different = [name for name, one, other in zip(names, made, kept, strict=True) if one != other]
    return f"the code ends with another {', '.join(different)}"


def _order(code: ProgramCode, call: ActionCall, ended: CodeExecuted) -> Order:
    return Order(code.function, decided_arguments(call), ended.seed, limits_of(code.limits))


class _Kept:
    """A `sandbox.ports.Host` that answers as the journal says."""

    def __init__(self, call: ActionCall, records: Sequence[Record], ended: CodeExecuted) -> None:
        self._call = call
        events = [record.event for record in records]
        self._asked = [
            one for one in events if isinstance(one, HostCalled) and one.call_id == call.id
        ]
        self._times = [*(one.now for one in self._asked), ended.now]
        self._results = {one.call_id: one for one in events if isinstance(one, ActionFinished)}
        self._batches = 0

    def begin(self) -> None:
        """Answer from the start; see `Host`."""
        self._batches = 0

    def now(self) -> float:
        """Return the time that the code saw; see `Host`."""
        return self._times[self._batches].timestamp()

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Answer what was asked; raise `Diverged` if that is something else."""
        count = sum(len(one.calls) for one in self._asked[: self._batches])
        made = made_by(self._call, calls, count)
        if isinstance(made, str):
            return [Answer(reason="CALL_INVALID", message=made)] * len(calls)
        if self._batches >= len(self._asked) or self._asked[self._batches].calls != made:
            raise Diverged
        self._batches += 1
        return [answer_of(self._results[call.id]) for call in made]
