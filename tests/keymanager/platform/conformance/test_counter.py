"""The counter only goes up, whatever is killed."""

from __future__ import annotations

import random
from dataclasses import replace
from threading import Event, Thread

from keymanager.platform.port import Platform, PlatformUnavailable

from .bench import Bench, Identity

TRIALS = 30


def test_an_increment_is_one_more(platform: Platform) -> None:
    before = platform.read_counter()

    assert [platform.increment_counter() for _ in range(3)] == [before + n for n in (1, 2, 3)]
    assert platform.read_counter() == before + 3


def test_a_counter_that_was_only_read_has_not_counted(bench: Bench) -> None:
    platform = bench.become(Identity())
    platform.read_counter()
    before = platform.has_counted()
    platform.increment_counter()
    bench.crash()

    assert (before, bench.become(Identity()).has_counted()) == (False, True)


def test_the_counter_survives_other_code(bench: Bench) -> None:
    before = bench.become(Identity()).increment_counter()

    assert bench.become(replace(Identity(), code="release 3")).read_counter() == before


def test_the_counter_of_another_role_is_another_one(bench: Bench) -> None:
    before = bench.become(Identity()).increment_counter()
    bench.become(replace(Identity(), role="gas", code="of gas")).increment_counter()

    assert bench.become(Identity()).read_counter() == before


def test_the_counter_never_goes_back_over_kill_9(bench: Bench) -> None:
    dice = random.Random(5)
    platform = bench.become(Identity())
    acknowledged = platform.increment_counter()
    for _ in range(TRIALS):
        for _ in range(dice.randrange(3)):
            acknowledged = platform.increment_counter()
        _increment_while_it_dies(bench, platform, dice)
        platform = bench.become(Identity())
        found = platform.read_counter()
        assert found in {acknowledged, acknowledged + 1}
        acknowledged = found


def _increment_while_it_dies(bench: Bench, platform: Platform, dice: random.Random) -> None:
    begun = Event()

    def increment() -> None:
        begun.set()
        try:
            platform.increment_counter()
        except PlatformUnavailable:
            return

    thread = Thread(target=increment)
    thread.start()
    begun.wait()
    # Somewhere between before the request and after the answer.
    Event().wait(dice.random() * 0.004)
    bench.crash()
    thread.join()
