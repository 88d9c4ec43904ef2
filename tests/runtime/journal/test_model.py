"""Whatever two workers do with their runs, journals say what dictionaries say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from runtime.errors import LeaseLost, RunNotFound
from runtime.facts import Event, GenerationFinished, SignalSent
from runtime.journal.opening import open_journal
from runtime.journal.port import Entry, Lease
from runtime.journal.tables import TABLES

from .model import Model
from .runs import FINISHED, NEW

WORKERS = ("one", "two")
NAMES = [NEW.name, NEW.name.replace("0001", "0002"), NEW.name.replace("0001", "0003")]


@dataclass(frozen=True)
class Step:
    """Something that a worker, or somebody outside, does with a run."""

    kind: str
    worker: str
    run: str
    number: int


# Some more often than others.
KINDS = (
    *(
        "create",
        "create",
        "append",
        "append",
        "append",
        "repeat",
        "haunt",
        "hear",
        "finish",
        "post",
        "post",
    ),
    *("post", "post", "claim", "claim", "renew", "release", "restart", "wait"),
)
# A run that was asked for again was taken for held, though nobody had its lease.
FOUND = (
    ("create", "two"),
    ("claim", "one"),
    ("release", "one"),
    ("create", "one"),
    ("claim", "one"),
)
STEPS = st.builds(
    Step,
    kind=st.sampled_from(KINDS),
    worker=st.sampled_from(WORKERS),
    run=st.sampled_from(NAMES),
    number=st.integers(1, 4),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(st.lists(STEPS, max_size=25))
@example([Step(kind, worker, NAMES[0], 1) for kind, worker in FOUND])
def test_two_workers_agree_with_dictionaries(engine: Engine, steps: list[Step]) -> None:
    with engine.begin() as connection:
        for table in TABLES.sorted_tables:
            connection.execute(table.delete())
    asyncio.run(play(engine, steps))


async def play(engine: Engine, steps: list[Step]) -> None:
    """Do the same with a journal and with the model, and compare all that they say."""
    players = Players(engine)
    for step in steps:
        await players.take(step)
    await players.compare()


class Players:
    """Two workers over one database, and the model of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._journals = {worker: open_journal(engine, worker=worker) for worker in WORKERS}
        self._model = Model()
        # By run, what was acknowledged last; and by worker and run, the first epoch.
        self._last: dict[str, tuple[str, Entry]] = {}
        self._first: dict[tuple[str, str], int] = {}

    async def take(self, step: Step) -> None:
        """Take a step."""
        take: Callable[[Step], Awaitable[None]] = getattr(self, f"_{step.kind}")
        await take(step)

    async def compare(self) -> None:
        """Compare all that can be read."""
        model, journal = self._model, self._journals["one"]
        found = [run.name for run in reversed(await journal.newest(9))]
        assert found == list(model.runs)
        for run in model.runs.values():
            records = await journal.events(run.name)
            assert [record.event for record in records] == run.events
            assert (await journal.get(run.name)).sequence == len(run.events)
            kept = [note for note in run.notes.values() if note]
            assert [note.note for note in await journal.notes(run.name)] == kept
        for worker, own in self._journals.items():
            noted = [
                run.name
                for run in model.runs.values()
                if run.is_open and run.worker == worker and any(run.notes.values())
            ]
            assert await own.noted() == noted

    async def _create(self, step: Step) -> None:
        new = replace(NEW, name=step.run, request_id=step.run)
        opened = await self._journals[step.worker].create(new, self._model.now)
        assert opened.lease == self._model.create(step.worker, new)
        self._remember(step.worker, [opened.lease] if opened.lease else [])

    async def _claim(self, step: Step) -> None:
        journal, now = self._journals[step.worker], self._model.now
        claimed = await journal.claim(now, seconds=5, limit=step.number)
        assert claimed == self._model.claim(step.worker, seconds=5, limit=step.number)
        self._remember(step.worker, claimed)

    def _remember(self, worker: str, leases: list[Lease]) -> None:
        for lease in leases:
            self._first.setdefault((worker, lease.run), lease.epoch)

    async def _renew(self, step: Step) -> None:
        model = self._model
        await self._journals[step.worker].renew(model.now, seconds=step.number)
        model.until[step.worker] = model.now + timedelta(seconds=step.number)

    async def _release(self, step: Step) -> None:
        await self._journals[step.worker].release()
        self._model.until.pop(step.worker, None)
        self._model.held[step.worker].clear()

    async def _restart(self, step: Step) -> None:
        self._journals[step.worker] = open_journal(self._engine, worker=step.worker)
        self._model.held[step.worker].clear()

    async def _wait(self, step: Step) -> None:
        self._model.now += timedelta(seconds=step.number)

    async def _append(self, step: Step) -> None:
        await self._hand_in(step, GenerationFinished(step.number, "", (), (), 1))

    async def _finish(self, step: Step) -> None:
        await self._hand_in(step, FINISHED)

    async def _haunt(self, step: Step) -> None:
        """Hand in an entry as the first life of a worker that had the run would."""
        epoch = self._first.get((step.worker, step.run))
        await self._hand_in_as(step, FINISHED, epoch)

    async def _hand_in(self, step: Step, event: Event, *, heard: tuple[int, ...] = ()) -> None:
        epoch = self._model.held[step.worker].get(step.run)
        await self._hand_in_as(step, event, epoch, heard=heard)

    async def _hand_in_as(
        self, step: Step, event: Event, epoch: int | None, *, heard: tuple[int, ...] = ()
    ) -> None:
        if epoch is None:
            return
        sequence = len(self._model.runs[step.run].events) + 1
        lease = Lease(step.run, epoch)
        asked = Entry(lease, sequence, (event,), self._model.now, heard=heard)
        await self._agree(step.worker, asked)

    async def _agree(self, worker: str, asked: Entry) -> None:
        try:
            self._model.append(worker, asked.lease, asked.events[0])
        except LeaseLost:
            try:
                await self._journals[worker].append(asked)
            except LeaseLost:
                return
            raise AssertionError("a lease that was lost") from None
        await self._journals[worker].append(asked)
        self._last[asked.lease.run] = worker, asked

    async def _repeat(self, step: Step) -> None:
        """Hand in again what was acknowledged last, which changes nothing."""
        if step.run not in self._last:
            return
        worker, asked = self._last[step.run]
        run = self._model.runs[step.run]
        try:
            await self._journals[worker].append(asked)
        except LeaseLost:
            assert (run.worker, run.epoch) != (worker, asked.lease.epoch)

    async def _hear(self, step: Step) -> None:
        if step.run not in self._model.runs:
            return
        kept = await self._journals[step.worker].notes(step.run)
        run = self._model.runs[step.run]
        before = len(run.events)
        if kept:
            await self._hand_in(step, kept[0].note, heard=(kept[0].number,))
        if len(run.events) > before:
            first = next(request for request, note in run.notes.items() if note)
            run.notes[first] = None

    async def _post(self, step: Step) -> None:
        note = SignalSent("go", str(step.number))
        journal, request = self._journals[step.worker], f"request-{step.number}"
        posting = journal.post(step.run, note, request_id=request, now=self._model.now)
        try:
            self._model.post(step.run, note, request)
        except RunNotFound:
            try:
                await posting
            except RunNotFound:
                return
            raise AssertionError("there is no such run") from None
        assert (await posting).name == step.run
