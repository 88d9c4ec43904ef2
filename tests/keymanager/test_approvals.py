"""A use that needs a person waits until somebody decided about exactly it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from keymanager.approvals import OPEN_OF_AGENT_MAX, OPEN_OF_CALLER_MAX, ApprovalState
from keymanager.audit.record import content_of
from keymanager.errors import (
    ApprovalDecided,
    ApprovalDenied,
    ApprovalNotFound,
    ApprovalRequired,
    ApprovalsExceeded,
    KindUnsuitable,
    SecretDisabled,
)
from keymanager.journal import Asker
from keymanager.signing import Purpose
from keymanager.uses.signatures import SignMessage
from tests.keymanager.test_uses import AGENT, asked, policy, sign
from tests.keymanager.vaults import OPERATOR, Bench


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.put("secrets/a")
    await made.put("secrets/key", b"sk-value")
    await made.vault.put_policy(policy("ask"), by=OPERATOR)
    return made


async def test_an_approved_use_succeeds_once(bench: Bench) -> None:
    name = await asked(bench)
    await bench.vault.decide_approval(name, approves=True, by=OPERATOR)
    bench.open()
    assert await sign(bench)
    assert await asked(bench) != name


async def test_an_approval_is_for_exactly_one_request(bench: Bench) -> None:
    name = await asked(bench)
    await bench.vault.decide_approval(name, approves=True, by=OPERATOR)
    assert await asked(bench, b"other") != name
    with pytest.raises(ApprovalRequired):
        await sign(bench, by=Asker("runtime", agent="agents/b", purpose="request"))


async def test_the_same_request_asks_the_same_question(bench: Bench) -> None:
    assert await asked(bench) == await asked(bench)
    (question,) = bench.vault.waiting(limit=10)
    assert (question.agent, question.operation) == ("agents/a", "sign-message")


async def test_a_person_sees_what_is_to_be_signed_and_the_log_does_not(bench: Bench) -> None:
    await asked(bench, b"Sell all.\n")
    (question,) = bench.vault.waiting(limit=10)
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    assert json.loads(question.facts)["preview"] == "Sell all.\\n"
    assert b"Sell" not in content_of(last.record)


async def test_a_denied_request_is_refused(bench: Bench) -> None:
    await bench.vault.decide_approval(await asked(bench), approves=False, by=OPERATOR)
    with pytest.raises(ApprovalDenied):
        await sign(bench)


async def test_nobody_is_asked_about_what_cannot_be_done(bench: Bench) -> None:
    operation = SignMessage(Purpose.REQUEST, b"m")
    with pytest.raises(KindUnsuitable):
        await bench.vault.use("secrets/key", operation, method="Sign", by=AGENT)
    await bench.vault.disable("secrets/a", by=OPERATOR)
    with pytest.raises(SecretDisabled):
        await sign(bench)
    assert not bench.vault.waiting(limit=10)


async def test_an_approval_is_decided_once(bench: Bench) -> None:
    name = await asked(bench)
    for _ in range(2):
        await bench.vault.decide_approval(name, approves=True, by=OPERATOR)
    with pytest.raises(ApprovalDecided):
        await bench.vault.decide_approval(name, approves=False, by=OPERATOR)


async def test_an_approval_that_expired_is_gone(bench: Bench) -> None:
    name = await asked(bench)
    bench.clock.advance(timedelta(hours=24))
    with pytest.raises(ApprovalNotFound):
        await bench.vault.decide_approval(name, approves=True, by=OPERATOR)
    with pytest.raises(ApprovalNotFound):
        bench.vault.approval(name)
    assert not bench.vault.waiting(limit=10)


async def test_what_has_expired_is_forgotten(bench: Bench) -> None:
    name = await asked(bench)
    bench.clock.advance(timedelta(hours=24))
    await bench.vault.tend()
    bench.clock.advance(-timedelta(hours=24))
    with pytest.raises(ApprovalNotFound):
        bench.vault.approval(name)


async def test_what_waits_is_listed_oldest_first_in_pages(bench: Bench) -> None:
    names = []
    for number in range(6):
        names.append(await asked(bench, b"m%d" % number))
        # Two at a time are as old.
        bench.clock.advance(timedelta(microseconds=number % 2))
    await bench.vault.decide_approval(names.pop(0), approves=True, by=OPERATOR)
    expected = [names[0], *sorted(names[1:3]), *sorted(names[3:5])]
    found = [*bench.vault.waiting(limit=2)]
    while page := bench.vault.waiting(limit=2, after=found[-1].place):
        found += page
    assert [one.name for one in found] == expected


@pytest.mark.parametrize("verdict", [ApprovalState.APPROVED, ApprovalState.DENIED])
async def test_a_decision_can_be_read_without_a_record(
    bench: Bench, verdict: ApprovalState
) -> None:
    name = await asked(bench)
    approves = verdict is ApprovalState.APPROVED
    await bench.vault.decide_approval(name, approves=approves, by=OPERATOR)
    before = bench.vault.sequence
    assert bench.vault.approval(name, of="runtime").state is verdict
    with pytest.raises(ApprovalNotFound):
        bench.vault.approval(name, of="linker")
    assert bench.vault.sequence == before


async def ask_often(bench: Bench, agents: int, each: int) -> None:
    for agent in range(agents):
        for number in range(each):
            with pytest.raises(ApprovalRequired):
                await sign(bench, b"%d" % number, Asker("runtime", f"agents/{agent}", "request"))


async def test_one_agent_has_so_many_open_questions_and_leaves_room_for_others(
    bench: Bench,
) -> None:
    await ask_often(bench, 1, OPEN_OF_AGENT_MAX)
    first = Asker("runtime", "agents/0", "request")
    with pytest.raises(ApprovalsExceeded, match="uses of agents/0 wait"):
        await sign(bench, b"more", first)
    # What is asked already is no question more.
    with pytest.raises(ApprovalRequired):
        await sign(bench, b"0", first)
    with pytest.raises(ApprovalRequired):
        await sign(bench, b"more", Asker("runtime", "agents/1", "request"))


@pytest.mark.parametrize("way_out", ["decided", "expired"])
async def test_a_decision_and_time_make_room_for_another_question(
    bench: Bench, way_out: str
) -> None:
    await ask_often(bench, 1, OPEN_OF_AGENT_MAX)
    if way_out == "decided":
        (oldest,) = bench.vault.waiting(limit=1)
        await bench.vault.decide_approval(oldest.name, approves=False, by=OPERATOR)
    else:
        bench.clock.advance(timedelta(hours=24))
    with pytest.raises(ApprovalRequired):
        await sign(bench, b"more", Asker("runtime", "agents/0", "request"))


async def test_one_caller_has_so_many_open_questions(bench: Bench) -> None:
    await ask_often(bench, OPEN_OF_CALLER_MAX // OPEN_OF_AGENT_MAX, OPEN_OF_AGENT_MAX)
    with pytest.raises(ApprovalsExceeded, match="500 uses of runtime wait"):
        await sign(bench, by=Asker("runtime", "agents/new", "request"))
    with pytest.raises(ApprovalRequired):
        await sign(bench, by=Asker("assembler", "agents/new", "request"))
