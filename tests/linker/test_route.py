"""What follows a try that failed: another one, another model, or the news."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence

import pytest

from chassis.errors import InvalidField, ServiceError
from linker.errors import (
    ContextExceeded,
    CredentialRefused,
    ModelRefused,
    ModelUnusable,
    ProviderUnavailable,
    QueueFull,
    RateLimited,
)
from linker.links import Target
from linker.routing.backoff import Backoff
from linker.routing.breaker import FAILURES_MAX, REST_SECONDS
from linker.routing.route import PATIENCE_SECONDS, Router
from tests.linker.virtual import now, run

MAIN, SPARE = Target("main/m"), Target("spare/s", "secrets/spare")
AWAY = ProviderUnavailable("main/m", "529")
LIMITED = RateLimited("main/m", "429", 7.0)

# What a model does: it fails, says something, or is silent for so many seconds first.
Act = ServiceError | Exception | str | float


class Stage:
    """Models that act as they are told, try by try; `asked` is who was asked, and when."""

    def __init__(self, **acts: Sequence[Sequence[Act]]) -> None:
        self.asked: list[tuple[str, float]] = []
        self.router = Router(now, random.Random(1), Backoff())
        self._acts = {name: list(tries) for name, tries in acts.items()}

    async def attempt(self, target: Target, _: float | None) -> AsyncGenerator[str, None]:
        name = target.model.partition("/")[0]
        self.asked.append((name, now()))
        for act in self._acts[name].pop(0):
            if isinstance(act, Exception):
                raise act
            if isinstance(act, float):
                await asyncio.sleep(act)
            else:
                yield act

    async def ask(self, *targets: Target, seconds: float | None = None) -> list[str]:
        until = None if seconds is None else now() + seconds
        said = []
        async for event in self.router.route(targets or (MAIN,), self.attempt, until=until):
            said.append(event)  # noqa: PERF401  # what was said before a failure is said
        return said

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def test_a_model_that_answers_is_asked_once() -> None:
    stage = Stage(main=[["a", "b"]])
    assert run(stage.ask(MAIN, SPARE)) == ["a", "b"]
    assert stage.asked == [("main", 0)]


def test_a_model_that_is_away_is_asked_again_later_each_time() -> None:
    stage = Stage(main=[[AWAY], [AWAY], ["a"]])
    assert run(stage.ask()) == ["a"]
    waits = [time for _, time in stage.asked]
    assert waits[0] == 0
    assert 0.25 <= waits[1] <= 0.5
    assert 0.5 <= waits[2] - waits[1] <= 1.0


def test_a_provider_that_says_when_to_come_is_not_asked_before() -> None:
    stage = Stage(main=[[LIMITED], ["a"]])
    assert run(stage.ask()) == ["a"]
    assert 7.0 <= stage.asked[1][1] <= 8.0


def test_who_is_to_come_back_much_later_is_told_so_at_once() -> None:
    stage = Stage(main=[[RateLimited("main/m", "429", 3_600.0)]])
    with pytest.raises(RateLimited):
        run(stage.ask())
    assert len(stage.asked) == 1


def test_after_three_tries_the_next_model_is_asked() -> None:
    stage = Stage(main=[[AWAY]] * 3, spare=[["b"]])
    assert run(stage.ask(MAIN, SPARE)) == ["b"]
    assert stage.names == ["main"] * 3 + ["spare"]


@pytest.mark.parametrize(
    "error",
    [
        QueueFull(9),
        CredentialRefused("main/m", "no"),
        ModelUnusable("main/m", "gone"),
        ContextExceeded(1, 2, 3),
    ],
    ids=lambda error: error.reason,
)
def test_what_another_try_would_not_heal_another_model_may(error: ServiceError) -> None:
    stage = Stage(main=[[error]], spare=[["b"]])
    assert run(stage.ask(MAIN, SPARE)) == ["b"]
    assert stage.names == ["main", "spare"]


@pytest.mark.parametrize(
    "error", [ModelRefused("main/m", "no"), InvalidField("a", "b"), RuntimeError("a bug")], ids=str
)
def test_what_no_model_would_do_is_told_at_once(error: Exception) -> None:
    stage = Stage(main=[[error]], spare=[["b"]])
    with pytest.raises(type(error)):
        run(stage.ask(MAIN, SPARE))
    assert stage.names == ["main"]


def test_nothing_is_said_twice() -> None:
    stage = Stage(main=[["a", AWAY], ["a"]], spare=[["b"]])
    with pytest.raises(ProviderUnavailable):
        run(stage.ask(MAIN, SPARE))
    assert stage.names == ["main"]


def test_what_may_pass_is_told_rather_than_what_will_not() -> None:
    refused = CredentialRefused("spare/s", "no")
    stage = Stage(main=[[refused]], spare=[[AWAY]] * 3)
    with pytest.raises(ProviderUnavailable):
        run(stage.ask(MAIN, SPARE))
    stage = Stage(main=[[ModelUnusable("main/m", "gone")]], spare=[[refused]])
    with pytest.raises(ModelUnusable):
        run(stage.ask(MAIN, SPARE))


def test_a_silent_model_has_its_part_of_the_time() -> None:
    stage = Stage(main=[[1_000.0, "a"]], spare=[[3.0, "b", 1_000.0, "c"]])
    assert run(stage.ask(MAIN, SPARE, seconds=20)) == ["b", "c"]
    assert stage.asked == [("main", 0), ("spare", pytest.approx(10, rel=0.05))]


def test_without_a_deadline_only_models_with_fallbacks_are_hurried() -> None:
    stage = Stage(main=[[1_000.0, "a"]], spare=[[1_000.0, "b"]])
    assert run(stage.ask(MAIN, SPARE)) == ["b"]
    assert stage.asked[1][1] == pytest.approx(PATIENCE_SECONDS, rel=0.05)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    stage = Stage(main=[[LIMITED]])

    async def main() -> float:
        with pytest.raises(RateLimited):
            await stage.ask(seconds=5)
        return now()

    assert run(main()) == 0


def test_a_model_that_fails_again_and_again_is_left_alone() -> None:
    tries = 3
    stage = Stage(main=[*[[AWAY]] * (2 * tries), ["a"]], spare=[["b"]] * 9)

    async def main() -> None:
        for _ in range(4):
            assert await stage.ask(MAIN, SPARE) == ["b"]
        assert stage.names.count("main") == FAILURES_MAX
        await asyncio.sleep(REST_SECONDS)
        # One looks whether it is back; others do not wait for that.
        first = asyncio.ensure_future(stage.ask(MAIN, SPARE))
        await asyncio.sleep(0)
        assert await stage.ask(MAIN, SPARE) == ["b"]
        await first

    run(main())


def test_a_model_that_is_back_is_asked_by_all() -> None:
    stage = Stage(main=[*[[AWAY]] * FAILURES_MAX, ["a"], ["a"]])

    async def main() -> list[str]:
        for _ in range(2):
            with pytest.raises(ProviderUnavailable):
                await stage.ask()
        assert stage.router.breakers.is_failing(MAIN)
        with pytest.raises(ProviderUnavailable, match="it failed too often just now") as resting:
            await stage.ask()
        await asyncio.sleep(resting.value.retry_after_seconds)
        return await stage.ask() + await stage.ask()

    assert run(main()) == ["a", "a"]
    assert not stage.router.breakers.is_failing(MAIN)


def test_the_waits_are_those_of_the_dice() -> None:
    def times(seed: int) -> list[float]:
        stage = Stage(main=[[AWAY]] * 3)
        stage.router = Router(now, random.Random(seed), Backoff())
        with pytest.raises(ProviderUnavailable):
            run(stage.ask())
        return [time for _, time in stage.asked]

    assert times(1) == times(1) != times(2)
