"""Calls that wait for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.errors import ApprovalNotFound
from runtime.facts import Event
from runtime.journal.stored import StoredJournal
from tests.runtime.worlds import RUN, START

from .runs import (
    ACTED,
    ASKED,
    AWAITED,
    CALL,
    DECIDED,
    FINISHED,
    LATER,
    NEW,
    SECOND,
    THIRD,
    entry,
)


async def waiting(journal: StoredJournal) -> list[str]:
    """Return the runs that wait for people, read in pages of one."""
    names, place = list[str](), ("", 0, 0)
    while page := await journal.waiting(1, after=place):
        names, place = [*names, page[0].run.name], page[0].place
    return names


async def test_calls_that_wait_for_people_are_listed_by_how_long_they_wait(
    journal: StoredJournal,
) -> None:
    for number, name in enumerate((RUN, SECOND, THIRD)):
        await journal.create(replace(NEW, name=name, request_id=str(number)), START)
    await journal.append(entry(AWAITED, run=SECOND))
    for name in (THIRD, RUN):
        await journal.append(replace(entry(AWAITED, run=name), time=LATER))
    assert await waiting(journal) == [SECOND, RUN, THIRD]


async def test_a_run_may_wait_for_several_answers(journal: StoredJournal) -> None:
    other = replace(ASKED, call=replace(CALL, id="step-1-2"))
    await journal.create(NEW, START)
    await journal.append(entry(AWAITED, other))
    assert await waiting(journal) == [RUN, RUN]
    await journal.append(entry(ACTED, sequence=4))
    assert (await journal.get(RUN)).approval == f"{RUN}/approvals/step-1-2"
    assert await journal.awaited(RUN, "step-1-2") == other


@pytest.mark.parametrize("event", [ACTED, FINISHED, DECIDED])
async def test_a_call_with_an_answer_or_a_result_waits_for_nobody(
    journal: StoredJournal, event: Event
) -> None:
    await journal.create(NEW, START)
    await journal.append(entry(ASKED))
    await journal.append(entry(event, sequence=3))
    assert ((await journal.get(RUN)).approval, await waiting(journal)) == ("", [])
    with pytest.raises(ApprovalNotFound):
        await journal.awaited(RUN, CALL.id)
