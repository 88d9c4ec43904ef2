"""The examples of the documentation do what the documentation says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keymanager.policy.conditions import Fact
from keymanager.policy.decision import decide
from keymanager.policy.document import parse
from keymanager.policy.rule import Decision, Question, Verdict

from .questions import NOON, ListedCounts, asking

PAGE = Path(__file__).parents[3] / "docs" / "key-policy.md"
POSTS, WALLET, TOKEN = map(
    parse, re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
)
ADDRESS = "0x00000000000000000000000000000000000000AA"
FINNEY = 10**15


def _post(**changes: Fact) -> Question:
    facts: dict[str, Fact] = {"host": "api.x.com", "method": "POST", "path": "/2/tweets"}
    return asking(facts | changes, secret="secrets/x-account", operation="oauth1")


def _transfer(**changes: Fact) -> Question:
    facts: dict[str, Fact] = {"chain_id": 8453, "to": ADDRESS, "value": FINNEY}
    names = {"agent": "agents/trader", "secret": "secrets/wallet", "operation": "sign-transaction"}
    return asking(facts | changes, **names)


def _pay_out(**changes: Fact) -> Question:
    token = f"0x{'cc'.rjust(40, '0')}"
    facts: dict[str, Fact] = {"chain_id": 8453, "to": token, "value": 0, "call.method": "transfer"}
    facts |= {"call.to": ADDRESS, "call.value": 5_000_000}
    named = {name.replace("_", ".", 1): fact for name, fact in changes.items()}
    return asking(facts | named, secret="secrets/wallet", operation="sign-transaction")


def _wallet(question: Question) -> Decision:
    return decide(WALLET, question, ListedCounts())


def test_the_51st_post_of_24_hours_is_denied() -> None:
    counts = ListedCounts()
    for minute in range(50):
        question = replace(_post(), time=NOON + timedelta(minutes=minute))
        decision = decide(POSTS, question, counts)
        counts.add(decision, question.time)
        assert decision.verdict is Verdict.ALLOW

    late, next_day = (replace(_post(), time=NOON + timedelta(hours=h)) for h in (23, 24))
    assert decide(POSTS, late, counts).problem == "rule posts: 50 per day are used up"
    assert decide(POSTS, next_day, counts).verdict is Verdict.ALLOW


def test_a_post_goes_to_no_other_path() -> None:
    decision = decide(POSTS, _post(path="/2/tweets-of-others"), ListedCounts())

    assert decision.rule == "default"


def test_ten_transfers_use_up_the_sum_of_a_day() -> None:
    counts = ListedCounts()
    for _ in range(10):
        decision = decide(WALLET, _transfer(), counts)
        counts.add(decision, NOON)
        assert decision.verdict is Verdict.ALLOW

    problem = "rule transfers: 10000000000000000 of value per day are used up"
    assert decide(WALLET, _transfer(value=1), counts).problem == problem


def test_a_transfer_goes_to_no_other_address_and_chain() -> None:
    assert _wallet(_transfer(to="0xcc")).rule == "default"
    assert _wallet(_transfer(chain_id=1)).rule == "default"


def test_a_person_is_asked_about_a_large_transfer() -> None:
    decision = _wallet(_transfer(value=FINNEY + 1))

    assert (decision.verdict, decision.rule) == (Verdict.ASK, "large-transfers")


def test_nothing_is_transferred_at_night() -> None:
    night = datetime(2026, 10, 25, 4, 59, tzinfo=UTC)  # 05:59, hours after the change of clocks

    assert _wallet(replace(_transfer(), time=night)).rule == "nights"
    morning = replace(_transfer(), time=night + timedelta(minutes=1))
    assert _wallet(morning).verdict is Verdict.ALLOW


def test_each_recipient_of_a_token_gets_so_much_and_all_together_so_much() -> None:
    counts = ListedCounts()
    for number in range(10):
        question = _pay_out(call_to=f"0x{number:040x}")
        decision = decide(TOKEN, question, counts)
        counts.add(decision, question.time)
        assert decision.verdict is Verdict.ALLOW
        used_up = decide(
            TOKEN, replace(question, facts={**question.facts, "call.value": 1}), counts
        )
        problem = "rule pay-out: 5000000 of call.value per day for each call.to are used up"
        assert used_up.problem == problem

    problem = "rule pay-out: 50000000 of call.value per day are used up"
    assert decide(TOKEN, _pay_out(call_value=1), counts).problem == problem


def test_what_does_not_say_who_gets_the_token_is_not_allowed() -> None:
    question = _pay_out()
    facts = {name: fact for name, fact in question.facts.items() if name != "call.to"}
    decision = decide(TOKEN, replace(question, facts=facts), ListedCounts())

    assert decision.verdict is Verdict.DENY
    assert decision.problem.endswith("but call.to is missing, empty or too long to be counted by")


def test_a_person_is_asked_about_a_permit_of_the_one_spender() -> None:
    facts: dict[str, Fact] = {
        "primary_type": "Permit",
        "message.spender": f"0x{'dd'.rjust(40, '0')}",
    }
    names = {"secret": "secrets/wallet", "operation": "sign-typed-data"}

    assert decide(TOKEN, asking(facts, **names), ListedCounts()).verdict is Verdict.ASK
    other = asking(facts | {"message.spender": ADDRESS}, **names)
    assert decide(TOKEN, other, ListedCounts()).rule == "default"
