"""What a journal with several workers should do, in dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.errors import LeaseLost, RunNotFound
from runtime.facts import Event, Note, RunFinished, RunStarted
from runtime.journal.port import Lease, NewRun
from tests.runtime.worlds import START


@dataclass
class ModelRun:
    """A run with its owner."""

    name: str
    worker: str
    epoch: int
    events: list[Event]
    # By request; None once it was heard.
    notes: dict[str, Note | None] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Tell whether it has not ended."""
        return not isinstance(self.events[-1], RunFinished)


@dataclass
class Model:
    """Runs in the order in which they began; what workers hold, and until when."""

    now: datetime = START
    runs: dict[str, ModelRun] = field(default_factory=dict)
    until: dict[str, datetime] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=lambda: {"one": {}, "two": {}})

    def create(self, worker: str, new: NewRun) -> Lease | None:
        """Return the lease of a run that is new, or that its worker does not know it has."""
        run = self.runs.get(new.name)
        if run is None:
            started = RunStarted(new.bundle, new.input, new.dry_run)
            run = self.runs[new.name] = ModelRun(new.name, worker, 1, [started])
        elif (
            not run.is_open
            or (run.worker, run.epoch) != (worker, 1)
            or run.name in self.held[worker]
        ):
            return None
        self.held[worker][run.name] = 1
        return Lease(run.name, 1)

    def append(self, worker: str, lease: Lease, event: Event) -> None:
        """Add an event, or raise `LeaseLost`."""
        run = self.runs[lease.run]
        if (run.worker, run.epoch) != (worker, lease.epoch) or not run.is_open:
            raise LeaseLost(run.name)
        run.events.append(event)

    def post(self, name: str, note: Note, request_id: str) -> None:
        """Add a note that is new, if the run is open."""
        if name not in self.runs:
            raise RunNotFound(name)
        if self.runs[name].is_open:
            self.runs[name].notes.setdefault(request_id, note)

    def claim(self, worker: str, *, seconds: float, limit: int) -> list[Lease]:
        """Return the leases of what nobody holds."""
        self.until[worker] = self.now + timedelta(seconds=seconds)
        free = [run for run in self.runs.values() if run.is_open and self._is_free(run, worker)]
        for run in free[:limit]:
            run.worker, run.epoch = worker, run.epoch + 1
            self.held[worker][run.name] = run.epoch
        return [Lease(run.name, run.epoch) for run in free[:limit]]

    def _is_free(self, run: ModelRun, worker: str) -> bool:
        if run.worker == worker:
            return run.name not in self.held[worker]
        return self.until.get(run.worker, START - timedelta(days=1)) <= self.now
