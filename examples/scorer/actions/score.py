"""Scores how much is known about a topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from textkit import words

from actionvm_sdk import Context, Field, action


@dataclass
class Score:
    """How often the words of a topic come, and where most."""

    points: int
    document: str


@action(capabilities=["knowledge.search"])
def score(
    ctx: Context,
    topic: Annotated[str, Field("what to score", min_length=1, max_length=200)],
    weight: Annotated[int, Field("what each word counts", minimum=1, maximum=10)] = 1,
) -> Score:
    """Score how much the notes say about a topic."""
    best = Score(0, "")
    wanted = set(words(topic))
    for passage in ctx.knowledge.search(topic):
        points = weight * sum(word in wanted for word in words(passage["text"]))
        ctx.log(passage["document"], points)
        if points > best.points:
            best = Score(points, passage["document"])
    return best
