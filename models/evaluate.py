"""Measures a model on dialogues that it was not trained on, through the linker of an agent."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from chassis.canonical import Json
from linker.conversation import (
    Choice,
    Conversation,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Role,
    Sampling,
    WrittenCall,
)
from linker.ports import OpenModel
from linker.providers.local import LocalProvider
from linker.providers.template import CALL_OPENER

from .tiny.actions import Maker, Novelty
from .tiny.briefs import make_brief
from .tiny.desks import make_clerk, make_phrase_book, make_support
from .tiny.dialogues import Dialogue, Kind, Turn
from .tiny.errands import QUESTION, REFUSAL, make_errands

CONTEXT_TOKENS_MAX = 4_096
ANSWER_TOKENS_MAX = 160
# What the shipped examples do: each has a fourth of the dialogues of its split.
EXAMPLES = (make_brief, make_support, make_clerk, make_phrase_book)
CHOICES = (Kind.ACT, Kind.ASK, Kind.DECLINE)


@dataclass(frozen=True)
class Case:
    """One turn of an agent: what it reads, what it should say, and what that must show."""

    prompt: Conversation
    expected: Message
    turn: Turn


@dataclass(frozen=True)
class Spoken:
    """What a model said: text, or a call."""

    text: str
    call: WrittenCall | None


def cases_of(dialogue: Dialogue) -> Iterator[Case]:
    """Yield the turns of the agent; each reads what should have been said before it."""
    messages = dialogue.conversation.messages
    spoken = [index for index, m in enumerate(messages) if m.role is Role.ASSISTANT]
    for index, turn in zip(spoken, dialogue.turns, strict=True):
        prompt = Conversation(messages[:index], dialogue.conversation.actions)
        yield Case(prompt, messages[index], turn)


def dialogues_of(split: str, count: int) -> Iterator[Dialogue]:
    """Yield the held-out dialogues of a split; the same ones every time."""
    novelty = {
        "examples": Novelty(wordings=True, entities=True),
        "known actions": Novelty(wordings=True, entities=True),
        "unseen actions": Novelty(wordings=True, entities=True, actions=True),
    }[split]
    for number in range(count):
        maker = Maker.of(f"evaluation/{split}/{number}", novelty)
        if split == "examples":
            yield EXAMPLES[number % len(EXAMPLES)](maker)
        else:
            yield make_errands(maker)


SPLITS = ("examples", "known actions", "unseen actions")


async def speak(model: OpenModel, case: Case, *, constrained: bool) -> Spoken:
    """Let the model take a turn, at temperature 0; it decides whether to act."""
    # Without a grammar the model reads the same prompt, and may write anything.
    choice = Choice.AUTO if constrained else Choice.NONE
    prompt = Prompt(case.prompt, choice, Sampling(ANSWER_TOKENS_MAX))
    finished: Finished | None = None
    async with aclosing(model.generate(prompt)) as events:
        async for event in events:
            if isinstance(event, Finished):
                finished = event
    assert finished is not None, "a generation ends"
    if constrained:
        return Spoken(finished.text, finished.calls[0] if finished.calls else None)
    text, opener, rest = finished.text.partition(CALL_OPENER)
    is_whole = finished.reason is FinishReason.STOP
    return Spoken(text, _parsed(rest.partition("</tool_call>")[0]) if opener and is_whole else None)


def _parsed(text: str) -> WrittenCall | None:
    try:
        value = json.loads(text)
        return WrittenCall(value["name"], json.dumps(value["arguments"]))
    except (ValueError, TypeError, KeyError):
        return None


def judge(case: Case, spoken: Spoken) -> dict[str, bool]:
    """Return which measures the turn counts for, and whether it meets them."""
    marks: dict[str, bool] = {}
    if case.turn.kind in CHOICES:
        # Where only an answer can follow there is nothing to choose.
        marks["acts, asks or declines"] = _kind_of(spoken) == case.turn.kind.value
    if case.turn.kind is Kind.ACT:
        wanted = case.expected.calls[0]
        name = spoken.call is not None and spoken.call.action == wanted.action
        given = _arguments(spoken.call)
        expected = cast("Mapping[str, Json]", json.loads(wanted.arguments))
        marks["right action"] = name
        marks["exact arguments"] = name and given == expected
        if case.turn.copied:
            copied = all(given.get(key) == expected[key] for key in case.turn.copied)
            marks["argument from a result"] = name and copied
    elif case.turn.kind is Kind.ANSWER:
        said = spoken.call is None and all(fact in spoken.text for fact in case.turn.facts)
        marks["facts in the answer"] = said
    elif case.turn.kind is Kind.ASK:
        asked = spoken.call is None and all(fact in spoken.text for fact in case.turn.facts)
        marks["asks for what is missing"] = asked
    elif case.turn.kind is Kind.DECLINE:
        marks["declines"] = _kind_of(spoken) == Kind.DECLINE.value
    return marks


def _arguments(call: WrittenCall | None) -> Mapping[str, Json]:
    value = json.loads(call.arguments) if call is not None else {}
    return value if isinstance(value, dict) else {}


def _kind_of(spoken: Spoken) -> str:
    """Return what a turn is, by the words that training uses for it."""
    if spoken.call is not None:
        return "act"
    if spoken.text.startswith(QUESTION):
        return "ask"
    return "decline" if spoken.text == REFUSAL else "answer"


async def evaluate(path: Path, *, count: int, threads: int) -> str:
    """Return a table in Markdown."""
    provider = LocalProvider(path.parent, threads=threads, context_tokens_max=CONTEXT_TOKENS_MAX)
    try:
        model = await provider.open(path.stem)
        lines = ["| measure | split | grammar | no grammar |", "|---|---|---|---|"]
        for split in SPLITS:
            cases = [case for d in dialogues_of(split, count) for case in cases_of(d)]
            columns = [await _tally(model, cases, constrained=flag) for flag in (True, False)]
            lines += _rows(split, *columns)
        return "\n".join(lines)
    finally:
        await provider.close()


async def _tally(
    model: OpenModel, cases: Iterable[Case], *, constrained: bool
) -> dict[str, Counter[bool]]:
    tally: dict[str, Counter[bool]] = {}
    for case in cases:
        marks = judge(case, await speak(model, case, constrained=constrained))
        for measure, is_met in marks.items():
            tally.setdefault(measure, Counter())[is_met] += 1
    return tally


def _rows(
    split: str, grammar: Mapping[str, Counter[bool]], free: Mapping[str, Counter[bool]]
) -> Iterator[str]:
    for measure, counts in grammar.items():
        cells = [
            f"{c[True] / c.total():.0%} ({c[True]}/{c.total()})" for c in (counts, free[measure])
        ]
        yield f"| {measure} | {split} | {cells[0]} | {cells[1]} |"


def main() -> None:
    """Print the table of a GGUF file."""
    parser = argparse.ArgumentParser(description="Measure a model on held-out dialogues.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=200, help="dialogues in each split")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(asyncio.run(evaluate(arguments.model, count=arguments.count, threads=arguments.threads)))


if __name__ == "__main__":
    main()
