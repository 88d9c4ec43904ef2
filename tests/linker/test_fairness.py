"""Who was given least comes first, and nobody saves up turns."""

from __future__ import annotations

from dataclasses import dataclass

from linker.providers.turns import Turns


@dataclass
class Job:
    """Work of a tenant."""

    tenant: str
    number: int = 0


def test_who_was_given_least_comes_first_and_work_of_one_stays_in_order() -> None:
    turns = Turns()
    work = [Job("a", 1), Job("a", 2), Job("b", 3)]
    for job in work:
        turns.enter(job.tenant)
    turns.give("a", 10)
    assert [job.number for job in turns.order(work)] == [3, 1, 2]


def test_who_comes_starts_even_with_who_was_given_least() -> None:
    turns = Turns()
    turns.enter("a")
    turns.give("a", 100)
    turns.enter("b")
    turns.give("b", 1)
    assert [job.tenant for job in turns.order([Job("b"), Job("a")])] == ["a", "b"]


def test_who_was_away_is_forgotten() -> None:
    turns = Turns()
    turns.enter("a")
    turns.give("a", 100)
    turns.leave("a")
    turns.enter("a")
    turns.enter("b")
    turns.give("b", 1)
    assert [job.tenant for job in turns.order([Job("b"), Job("a")])] == ["a", "b"]
