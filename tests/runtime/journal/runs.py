"""Runs and events that the tests of journals keep."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from runtime.facts import (
    ActionCall,
    ActionFinished,
    ApprovalAwaited,
    ApprovalDecided,
    Caller,
    EffectSent,
    Event,
    Outcome,
    Receipt,
    RunFinished,
    State,
)
from runtime.journal.port import Entry, Lease, NewRun
from tests.runtime.worlds import RUN, START

SECOND, THIRD = (RUN.replace("0001", f"000{number}") for number in (2, 3))
SOON, LATER = START + timedelta(seconds=1), START + timedelta(seconds=9)
NEW = NewRun(
    name=RUN,
    request_id="first",
    bundle="bundles/1",
    payload=b"{}",
    account="agents/a",
    input='""',
    dry_run=False,
)
ANSWERING = replace(
    NEW,
    name=SECOND,
    request_id="call",
    callers=(Caller("agents/b", f"{RUN[:-1]}9"), Caller("agents/a", RUN)),
    deadline=LATER,
)
BILL = Receipt(RUN, "agents/a", (), 9, "", 0)
CALL = ActionCall("step-1-1", "board.post", "{}")
AWAITED = ApprovalAwaited(CALL, "approvals/1", "posts")
ASKED = ApprovalAwaited(CALL, "", "approval: ask")
DECIDED = ApprovalDecided(CALL.id, ASKED.arguments_sha256, allows=True, who="alice")
ACTED = ActionFinished(CALL.id, CALL.action, "{}", gas=1)
LARGE = ActionFinished("a", "b", f'"{40_000 * "x"}"', 0)
SENT = EffectSent("step-1-1", "call", SECOND)
FINISHED = RunFinished(Outcome(State.CANCELLED), BILL)


def entry(*events: Event, sequence: int = 2, run: str = RUN, epoch: int = 1) -> Entry:
    """Return the entry of an owner who has not lost the run."""
    return Entry(Lease(run, epoch), sequence, events, SOON)
