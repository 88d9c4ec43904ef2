"""Every event reaches every receiver, exactly once after duplicates are dropped, and in order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from chassis.courier import ATTEMPTS_MAX
from gas.market.webhooks import Delivery, DeliveryState
from tests.fakes.receiver import Fault, Post, Receiver, is_genuine
from tests.gas.market.markets import Market, delivering

ACCOUNTS = tuple(f"agents/a{number}" for number in range(4))
FAILING = Fault(500)
BUSY = Fault(429, headers=("retry-after: 7",))
RESETTING = Fault(resets=True)
HANGING = Fault(hangs=True)
# The event arrived, and the sender does not know: it comes again.
LOSING = Fault(resets=True, takes=True)
SLOW = Fault(hangs=True, takes=True)
TROUBLE = {
    "fails": [FAILING, BUSY, RESETTING, None, Fault(302, headers=("location: http://[::1]/",))],
    "times out": [HANGING, SLOW, None],
    "repeats": [LOSING, None, LOSING, LOSING],
}


async def test_three_receivers_in_trouble_get_every_event_once_and_in_order(
    tmp_path: Path,
) -> None:
    dice = random.Random(10)
    async with AsyncExitStack() as stack:
        market = await stack.enter_async_context(delivering(tmp_path / "gas.db", *ACCOUNTS))
        receivers = []
        for name, faults in TROUBLE.items():
            # One more for the same event, and it would be dead.
            few = 3 if name == "times out" else ATTEMPTS_MAX - 1
            receiver = Receiver()
            receiver.faults.extend(dice.choice(faults) for _ in range(few))
            receivers.append(await stack.enter_async_context(receiver.listening()))
        hooks = [await market.hook(one.url, asked_as=one.url) for one in receivers]
        for _ in range(40):
            await market.charge(dice.choice(ACCOUNTS))
        for hook in hooks:
            await market.until_done(hook)

        for receiver, hook in zip(receivers, hooks, strict=True):
            assert not receiver.faults
            assert [one["sequence"] for one in _by_offset(receiver)] == _sequences(1, 40)
            _assert_ordered(receiver)
            secret = market.outbox.seal.secret(hook.name)
            assert all(
                # The clock of the test leaps while it waits.
                is_genuine(post, secret, now=int(post.headers["webhook-timestamp"]))
                for post in receiver.posts
            )


async def test_an_event_that_fails_holds_up_its_account_and_no_other(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", *ACCOUNTS) as market:
        receiver = Receiver()

        def refuse_the_first(post: Post) -> None:
            if post.event["sequence"] == _sequences(1, 1)[0]:
                receiver.faults.append(FAILING)

        receiver.on_post = refuse_the_first
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            for account in (ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[0], ACCOUNTS[1]):
                await market.charge(account)
            await market.until_done(hook)

        # The second account was served before the first event of the other was given up.
        order = [post.event["sequence"][-1] for post in receiver.posts]
        assert order.index("2") < ATTEMPTS_MAX
        assert order.index("3") > max(i for i, one in enumerate(order) if one == "1")


async def test_an_event_that_never_arrives_is_given_up_after_twelve_attempts(
    tmp_path: Path,
) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver = Receiver()
        receiver.faults.extend([FAILING] * ATTEMPTS_MAX)
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)

        states = [delivery.state for delivery in _deliveries(market)]
        assert states == [DeliveryState.DEAD, DeliveryState.DELIVERED]
        assert [delivery.attempt_count for delivery in _deliveries(market)] == [ATTEMPTS_MAX, 1]
        progress = market.store.progress(market.store.webhook(hook.name))
        assert (progress.done_offset, progress.dead_count) == (2, 1)


async def test_pauses_double_from_a_second_on(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver = Receiver()
        receiver.faults.extend([FAILING] * 5)
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)

        assert [int(nap) for nap in market.naps] == [1, 2, 4, 8, 16]


async def test_a_receiver_that_says_when_to_come_again_is_left_alone_until_then(
    tmp_path: Path,
) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver = Receiver()
        receiver.faults.append(Fault(503, headers=("retry-after: 120",)))
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)

        assert market.naps == [120]


async def test_a_replay_sends_everything_again_and_what_is_dead(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", *ACCOUNTS) as market:
        receiver = Receiver()
        async with receiver.listening():
            await market.charge(ACCOUNTS[0])
            hook = await market.hook(receiver.url)
            receiver.faults.extend([FAILING] * ATTEMPTS_MAX)
            await market.charge(ACCOUNTS[0])
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)
            assert [event["sequence"] for event in receiver.events] == _sequences(3, 3)
            receiver.accepted.clear()

            await market.outbox.replay(hook.name, 0)
            await market.until_done(hook)

        assert [event["sequence"] for event in receiver.events] == _sequences(1, 3)
        assert {one.state for one in _deliveries(market)} == {DeliveryState.DELIVERED}


async def test_a_webhook_whose_maker_went_away_delivers_all_the_same(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver = Receiver()
        async with receiver.listening():
            making = asyncio.create_task(market.hook(receiver.url))
            await asyncio.sleep(0)
            making.cancel()
            await asyncio.wait([making])
            await market.charge(ACCOUNTS[0])
            await receiver.until(lambda one: bool(one.posts))

        assert making.cancelled()


async def test_a_replay_from_the_end_sends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", *ACCOUNTS) as market:
        receiver = Receiver()
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await market.outbox.replay(hook.name, market.store.last_offset())
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)

        assert [event["sequence"] for event in receiver.events] == _sequences(1, 2)


async def test_a_webhook_gets_only_what_it_asked_for(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", *ACCOUNTS) as market:
        receiver = Receiver()
        async with receiver.listening():
            kind = "com.actionvm.gas.run-closed.v1"
            hook = await market.hook(receiver.url, types=(kind,), subject=ACCOUNTS[1])
            for account in ACCOUNTS[:2]:
                await market.close(await market.charge(account), account)
            await market.until_done(hook)

        (event,) = receiver.events
        assert (event["type"], event["subject"]) == (kind, ACCOUNTS[1])


async def test_nothing_is_sent_any_more_after_a_deletion(tmp_path: Path) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver, other = Receiver(), Receiver()
        async with receiver.listening(), other.listening():
            hook = await market.hook(receiver.url)
            alive = await market.hook(other.url, asked_as="alive")
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)
            await market.outbox.drop(hook.name)
            await market.charge(ACCOUNTS[0])
            await market.until_done(alive)

        assert [event["sequence"] for event in receiver.events] == _sequences(1, 1)
        assert len(other.events) == 2


async def test_what_was_under_way_when_it_stopped_is_finished_and_not_sent_again(
    tmp_path: Path,
) -> None:
    receiver, first = Receiver(), AsyncExitStack()
    async with receiver.listening():
        market = await first.enter_async_context(delivering(tmp_path / "gas.db", ACCOUNTS[0]))
        receiver.gate.clear()
        hook = await market.hook(receiver.url)
        await market.charge(ACCOUNTS[0])
        await receiver.until(lambda one: bool(one.posts))
        stopping = asyncio.create_task(first.aclose())
        # It had every chance to cut the delivery off.
        await asyncio.wait([stopping], timeout=0.2)
        receiver.gate.set()
        await stopping
        async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
            await market.until_done(hook)

    assert len(receiver.posts) == 1


async def test_what_nobody_answered_before_it_stopped_is_sent_by_the_next(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.faults.extend([RESETTING] * 3)
    async with receiver.listening():
        async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await receiver.until(lambda one: bool(one.posts))
        async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
            await market.until_done(hook)

    assert [event["sequence"] for event in receiver.events] == _sequences(1, 1)


async def test_who_lost_the_ledger_sends_no_more(tmp_path: Path) -> None:
    receiver = Receiver()
    async with receiver.listening(), delivering(tmp_path / "gas.db", ACCOUNTS[0]) as old:
        hook = await old.hook(receiver.url)
        async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as new:
            await new.charge(ACCOUNTS[0])
            await new.until_done(hook)
        (route,) = old.outbox._routes.values()
        old.writer._written.set()
        await asyncio.wait_for(asyncio.shield(route._task), 20)

    assert len(receiver.posts) == 1


@pytest.mark.parametrize("fault", [FAILING, RESETTING])
async def test_no_word_of_a_receiver_is_kept(tmp_path: Path, fault: Fault) -> None:
    async with delivering(tmp_path / "gas.db", ACCOUNTS[0]) as market:
        receiver = Receiver()
        receiver.faults.extend([fault] * ATTEMPTS_MAX)
        async with receiver.listening():
            hook = await market.hook(receiver.url)
            await market.charge(ACCOUNTS[0])
            await market.until_done(hook)

        (delivery,) = _deliveries(market)
        assert "canary" not in delivery.last_error
        assert delivery.next_attempt_time - market.clock.now() <= timedelta()


def _deliveries(market: Market) -> list[Delivery]:
    found = market.store.deliveries(webhook="", state=None, after=None, limit=1_000)
    return [delivery for delivery, _ in found]


def _sequences(first: int, last: int) -> list[str]:
    return [f"{number:019}" for number in range(first, last + 1)]


def _by_offset(receiver: Receiver) -> list[dict[str, str]]:
    return sorted(receiver.events, key=lambda event: event["sequence"])


def _assert_ordered(receiver: Receiver) -> None:
    by_account = defaultdict(list)
    for event in receiver.events:
        by_account[event["subject"]].append(event["sequence"])
    for sequences in by_account.values():
        assert sequences == sorted(sequences)
