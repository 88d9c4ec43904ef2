"""Runs the shipped examples with the model in the box, and reads what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from cli.services import ROOT
from models.tiny import desks, words

from .conftest import EXAMPLE, Board, System

pytestmark = pytest.mark.system

SUPPORT = ROOT / "examples" / "support-desk" / "agent.yaml"
CLERK = ROOT / "examples" / "harbour-notices" / "agent.yaml"
TRANSLATOR = ROOT / "examples" / "harbour-notices" / "translator" / "agent.yaml"

QUESTIONS = {
    "We would like to hear about refunds.": ("refunds", "Refunds take 5 days."),
    "Can somebody tell us about repairs?": (
        "repairs",
        "Repairs cost 45 euros and are ready within 3 days.",
    ),
    "What is written about returns?": ("returns", "Returns are free for 30 days."),
    "Please say something on gift cards.": ("gift cards", "Gift cards are valid for 36 months."),
}
NOTICES = {
    "What do I tell guests about the harbour?": ("harbour", "Der Hafen ist offen."),
    "Please inform them about the bridge.": (
        "bridge",
        "Die Brücke ist bis Montag geschlossen.",
    ),
    "Does the ferry have a notice?": ("ferry", "Die Fähre kommt wegen Wind später."),
}


@dataclass(frozen=True)
class Told:
    """What a run did, as action and arguments, and what it answered."""

    calls: list[tuple[str, dict[str, str]]]
    answer: str
    run: str


def tell(system: System, manifest: str, question: str, *options: str) -> Told:
    """Run an agent on a question."""
    done = system.command("run", manifest, "--input", question, "--json", *options)
    assert done.code == 0, done.errors + done.output
    calls = [
        (call["action"], json.loads(call["arguments"]))
        for document in done.documents
        for call in document.get("event", {}).get("generated", {}).get("calls", [])
    ]
    end = done.documents[-1]["end"]
    return Told(calls, end["answer"], end["run"])


def test_the_market_brief_posts_a_sentence_that_it_found(system: System, board: Board) -> None:
    told = tell(
        system,
        str(EXAMPLE / "agent.yaml"),
        "What moved the market today?",
        *("--set", f"board_url={board.url}"),
    )

    documents = " ".join(path.read_text() for path in (EXAMPLE / "knowledge").glob("*.md"))
    (post,) = board.posts_of(told.run)
    assert [name for name, _ in told.calls] == ["knowledge.search", "board.post"]
    assert told.calls[0][1] == {"query": "market"}
    assert post["text"] in " ".join(documents.split())
    assert post["text"] in told.answer


def test_the_model_has_not_seen_these_wordings() -> None:
    for questions, wordings in (
        (QUESTIONS, words.known(desks.SUPPORT_QUESTIONS)),
        (NOTICES, words.known(desks.CLERK_QUESTIONS)),
    ):
        for question, (topic, _) in questions.items():
            seen = {wording.format(topic=topic) for wording in wordings}
            assert not [wording for wording in seen if wording in question]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_support_desk_answers_with_the_rule(system: System, question: str) -> None:
    topic, rule = QUESTIONS[question]

    told = tell(system, str(SUPPORT), question)

    assert told.calls == [("knowledge.search", {"query": topic})]
    assert told.answer == rule


@pytest.mark.parametrize("question", NOTICES)
def test_the_clerk_has_the_notice_translated(system: System, question: str) -> None:
    place, translation = NOTICES[question]
    assembled = system.command("assemble", str(TRANSLATOR))
    assert assembled.code == 0, assembled.errors

    told = tell(system, str(CLERK), question)

    assert [name for name, _ in told.calls] == ["knowledge.search", "translator.ask"]
    assert told.calls[0][1] == {"query": place}
    assert told.answer == translation
