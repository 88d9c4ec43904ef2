"""What became of effects, as people see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runtime.conductor import Conductor
from runtime.effects import EffectState, SentEffect, effects_of
from runtime.facts import (
    UNKNOWN,
    ActionFinished,
    EffectSent,
    EffectUnknown,
    EffectUnsent,
    Event,
    State,
)
from runtime.journal.port import Record, Run
from tests.runtime.worlds import RUN, START, World

AN_EFFECT = EffectSent("step-1-1", f"{RUN}/call/step-1-1", action="board.post")
DONE = ActionFinished("step-1-1", "board.post", "{}", 0)
A_RUN = Run(
    number=1,
    name=RUN,
    bundle="",
    account="agents/a",
    state=State.RUNNING,
    input="",
    answer="",
    failure=None,
    step_count=0,
    gas=0,
    dry_run=False,
    create_time=START,
    end_time=None,
    callers=(),
    deadline=None,
    approval="",
    origin="",
    sequence=1,
)


def fold(events: Iterable[Event]) -> list[SentEffect]:
    """Return the effects of a run with these events, a second apart."""
    records = [
        Record(number, START + timedelta(seconds=number), event)
        for number, event in enumerate(events, 1)
    ]
    return effects_of(A_RUN, records)


@pytest.mark.parametrize(
    ("events", "state", "attempts"),
    [
        ([AN_EFFECT], EffectState.SENT, 1),
        ([AN_EFFECT, EffectUnsent("step-1-1")], EffectState.PENDING, 1),
        ([AN_EFFECT, EffectUnsent("step-1-1"), AN_EFFECT], EffectState.SENT, 2),
        ([AN_EFFECT, EffectUnknown("step-1-1")], EffectState.UNKNOWN, 1),
        ([AN_EFFECT, EffectUnknown("step-1-1"), DONE], EffectState.CONFIRMED, 1),
        ([AN_EFFECT, replace(DONE, reason="POST_REFUSED")], EffectState.FAILED, 1),
        ([AN_EFFECT, replace(DONE, reason=UNKNOWN)], EffectState.UNKNOWN, 1),
    ],
)
def test_a_state_follows_from_what_was_journaled(
    events: list[Event], state: EffectState, attempts: int
) -> None:
    [effect] = fold(events)
    assert (effect.state, effect.attempts) == (state, attempts)
    assert effect.create_time == START + timedelta(seconds=1)
    assert effect.update_time == START + timedelta(seconds=len(events))


def test_what_another_run_sent_or_does_is_no_effect_of_this_one() -> None:
    of_a_fork = replace(AN_EFFECT, idempotency_key="runs/other/call/step-1-1")
    called = EffectSent("step-1-2", f"{RUN}/call/step-1-2", run="runs/other")
    assert fold([of_a_fork, DONE, called]) == []


def test_a_journal_of_an_earlier_release_names_the_action_once_it_is_done() -> None:
    old = replace(AN_EFFECT, action="")
    assert [one.action for one in fold([old])] == [""]
    assert [one.action for one in fold([old, DONE])] == ["board.post"]


async def test_the_effects_of_a_run_are_read_from_its_journal(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.board.fail_next("lost")
    run = await world.create()
    conductor = Conductor(world.stage())
    await conductor.start()
    await world.until_ended()
    await conductor.stop()
    sent = await world.journal.sent([RUN, "runs/none"])
    [effect] = effects_of(run, sent[RUN])
    assert (effect.state, effect.action, effect.attempts) == (
        EffectState.CONFIRMED,
        "board.post",
        1,
    )
    assert sent["runs/none"] == []
