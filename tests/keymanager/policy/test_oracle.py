"""100,000 decisions agree with a second reading of the language."""

from __future__ import annotations

import random
from collections import Counter

from keymanager.policy.conditions import Match
from keymanager.policy.decision import Evaluation, decide, evaluate
from keymanager.policy.document import parse
from keymanager.policy.rule import DEFAULT, Decision, Question, Verdict

from .generator import random_policy, random_question
from .oracle import Use, verdict_and_rule, written
from .questions import ListedCounts

POLICIES = 500
QUESTIONS = 200


def test_every_decision_is_that_of_the_oracle() -> None:
    seen = Counter[Verdict]()
    for seed in range(POLICIES):
        dice = random.Random(seed)
        document = random_policy(dice)
        policy, counts = parse(written(document)), ListedCounts()
        uses: list[Use] = []
        question: Question | None = None
        for number in range(QUESTIONS):
            question = random_question(dice, question.time if question else None)
            decision = decide(policy, question, counts)
            expected = verdict_and_rule(document, question, uses)
            found = (decision.verdict.value, decision.rule)
            assert found == expected, (seed, number, document, question)
            seen[decision.verdict] += 1
            if number % 20 == 0:
                _assert_explained(evaluate(policy, question, counts), decision)
            # A person says yes, and three of four uses succeed.
            if decision.verdict is not Verdict.DENY and dice.random() < 0.75:
                counts.add(decision, question.time)
                uses.append((decision.rule, question.time, question))
    assert seen.total() == POLICIES * QUESTIONS
    assert min(seen[verdict] for verdict in Verdict) > QUESTIONS * POLICIES // 50


def _assert_explained(evaluation: Evaluation, decision: Decision) -> None:
    """Require the same decision, and a reason from each rule that does not simply match."""
    assert evaluation.decision == decision
    by_name = {one.rule: one for one in evaluation.explanations}
    assert decision.rule == DEFAULT or by_name[decision.rule].match is not Match.NO
    for one in evaluation.explanations:
        assert one.problem or one.match is Match.YES
        # Who allows is found out only if nobody denies or asks.
        if one.verdict is Verdict.DENY and one.match is not Match.NO:
            assert decision.verdict is Verdict.DENY
