"""A key is used as often as it may be, and agents come in turn."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linker.errors import QueueFull, RateLimited
from linker.routing.turns import WAITING_MAX, Bucket, Turns
from linker.settings import RateBudget
from tests.linker.virtual import now, run

MODEL = "openai/gpt-9"
KEY = "secrets/openai"


def turns(**budget: int) -> Turns:
    return Turns({"openai": RateBudget(**budget)}, monotonic=now)


async def take(
    turns: Turns,
    account: str = "agents/a",
    *,
    tokens: int = 0,
    until: float | None = None,
    used: int | None = None,
    seconds: float = 0.0,
) -> float:
    """Take a turn, and return when it began."""
    async with turns.turn(MODEL, KEY, account, tokens=tokens, until=until) as turn:
        began = now()
        await asyncio.sleep(seconds)
        turn.used = used
        return began


def test_without_a_budget_nobody_waits() -> None:
    async def main() -> list[float]:
        free = turns()
        return await asyncio.gather(*(take(free, tokens=10**6) for _ in range(1_000)))

    assert set(run(main())) == {0.0}


def test_requests_come_at_the_rate_of_the_key() -> None:
    async def main() -> list[float]:
        limited = turns(requests_per_minute=60)
        return await asyncio.gather(*(take(limited) for _ in range(180)))

    began = run(main())
    assert began[:60] == [0.0] * 60
    assert began[60:] == pytest.approx([1.0 + n for n in range(120)], abs=0.2)


def test_tokens_come_at_the_rate_of_the_key() -> None:
    async def main() -> list[float]:
        limited = turns(tokens_per_minute=6_000)
        return [await take(limited, tokens=3_000) for _ in range(4)]

    assert run(main()) == pytest.approx([0, 0, 30, 60], abs=0.1)


def test_what_was_not_used_is_given_back() -> None:
    async def main() -> list[float]:
        limited = turns(tokens_per_minute=6_000)
        return [await take(limited, tokens=3_000, used=300) for _ in range(20)]

    assert run(main())[10:12] == pytest.approx([0, 3], abs=4)


def test_a_request_that_is_larger_than_a_minute_comes_when_all_is_there() -> None:
    async def main() -> list[float]:
        limited = turns(tokens_per_minute=6_000)
        return [await take(limited, tokens=tokens) for tokens in (600, 60_000, 600)]

    first, large, after = run(main())
    assert (first, large) == pytest.approx((0, 6), abs=0.1)
    assert after > 500


def test_no_more_are_in_flight_than_may_be() -> None:
    async def main() -> list[float]:
        limited = turns(in_flight_max=2)
        return await asyncio.gather(*(take(limited, seconds=5) for _ in range(6)))

    assert run(main()) == [0, 0, 5, 5, 10, 10]


def test_an_agent_with_one_request_does_not_wait_for_one_with_many() -> None:
    async def main() -> tuple[list[float], float]:
        limited = turns(in_flight_max=1)
        many = [asyncio.ensure_future(take(limited, seconds=1)) for _ in range(10)]
        await asyncio.sleep(0)
        one = await take(limited, "agents/b", seconds=1)
        return list(await asyncio.gather(*many)), one

    many, one = run(main())
    assert one == 2
    assert many == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]


def test_who_waits_too_long_is_told_when_to_come_back() -> None:
    async def main() -> float:
        limited = turns(requests_per_minute=1)
        await take(limited)
        with pytest.raises(RateLimited, match="the rate budget of its key is used up") as refused:
            await take(limited, until=now() + 20)
        assert await take(limited) == pytest.approx(60, abs=0.1)
        return refused.value.retry_after_seconds

    assert run(main()) == pytest.approx(40, abs=0.1)


def test_who_goes_away_leaves_the_line() -> None:
    async def main() -> list[float]:
        limited = turns(in_flight_max=1)
        first = asyncio.ensure_future(take(limited, seconds=5))
        await asyncio.sleep(0)
        gone = asyncio.ensure_future(take(limited, seconds=100))
        last = asyncio.ensure_future(take(limited, "agents/b"))
        await asyncio.sleep(1)
        gone.cancel()
        return list(await asyncio.gather(first, last))

    assert run(main()) == [0, 5]


def test_who_goes_away_with_a_turn_gives_it_back() -> None:
    async def main() -> float:
        limited = turns(in_flight_max=1)
        first = asyncio.ensure_future(take(limited, seconds=5))
        await asyncio.sleep(0)
        gone = asyncio.ensure_future(take(limited, seconds=100))
        await asyncio.sleep(0)
        await first
        # The turn was given a moment ago, and nobody has taken it yet.
        gone.cancel()
        return await take(limited)

    assert run(main()) == 5


def test_too_many_are_refused() -> None:
    async def main() -> None:
        limited = turns(in_flight_max=1)
        tasks = [asyncio.ensure_future(take(limited, seconds=1)) for _ in range(WAITING_MAX + 1)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await take(limited)
        await asyncio.gather(*tasks)

    run(main())


def test_a_provider_that_wants_a_pause_gets_it_from_all() -> None:
    async def main() -> float:
        limited = turns()
        with pytest.raises(RateLimited):
            async with limited.turn(MODEL, KEY, "agents/a", tokens=1, until=None):
                raise RateLimited(MODEL, "429", 30.0)
        return await take(limited, "agents/b")

    assert run(main()) == pytest.approx(30, abs=0.1)


def test_keys_do_not_wait_for_each_other() -> None:
    async def main() -> float:
        limited = turns(requests_per_minute=1)
        await take(limited)
        async with limited.turn(MODEL, "secrets/other", "agents/a", tokens=1, until=None):
            return now()

    assert run(main()) == 0


@given(
    per_minute=st.integers(1, 10_000),
    takes=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 20_000)), max_size=30),
)
def test_a_bucket_never_gives_more_than_its_rate(
    per_minute: int, takes: list[tuple[float, int]]
) -> None:
    bucket, time, taken = Bucket(per_minute), 0.0, 0
    for wait, amount in takes:
        time += wait + bucket.seconds_until(amount, time + wait)
        bucket.take(amount, time)
        taken += min(amount, per_minute)
        assert taken <= per_minute * (1 + time / 60) + per_minute + 1e-6
