"""A transaction happens once, whatever the node forgets, replaces, reorganises or does not tell."""

from __future__ import annotations

import asyncio

import pytest

from chassis.errors import PeerUnavailable
from runtime.connectors import Connector, Order, Result, Unsent
from runtime.connectors.evm.drafts import Draft, read_draft
from tests.fakes.evm import GWEI
from tests.fakes.evm_node import RpcError
from tests.fakes.front import Fault, Says
from tests.runtime.evm.chains import ME, SEND, SETTINGS, Actions, order

# What comes before a transaction is handed over.
LOOKUPS = 6


async def _sent(slow: Actions, wanted: Order) -> Draft:
    """Send what no block has yet, and return it."""
    with pytest.raises(PeerUnavailable):
        await slow.do("evm.send", wanted)
    draft = read_draft(wanted.draft.text)
    assert draft
    return draft


async def _waits(slow: Actions, wanted: Order) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await slow.find(wanted)
    assert not isinstance(raised.value, Unsent)


async def test_it_is_certain_once_it_is_deep_enough(slow: Actions) -> None:
    wanted = order(SEND, settings={**SETTINGS, "confirmations": 3})
    draft = await _sent(slow, wanted)
    for _ in range(2):
        slow.chain.mine()
        await _waits(slow, wanted)
    slow.chain.mine()
    found = await slow.find(wanted)
    assert found
    assert isinstance(found.value, dict)
    assert (found.value["transaction"], found.value["block"]) == (draft.hash, 4)


async def test_what_was_not_signed_was_never_sent(slow: Actions) -> None:
    assert await slow.find(order(SEND)) is None


@pytest.mark.parametrize("fault", ["lost", "failed", Says(502), Says(200, b"<html>")])
async def test_after_a_lost_answer_the_same_is_found_or_handed_over_again(
    slow: Actions, fault: Fault
) -> None:
    wanted = order(SEND)
    fine: list[Fault] = [""] * LOOKUPS
    slow.front.fail_next(*fine, fault)
    draft = await _sent(slow, wanted)
    slow.actions = slow.restarted()
    await _waits(slow, wanted)
    slow.chain.mine(2)
    found = await slow.find(wanted)
    assert found
    assert [one.hash for one in slow.chain.mined()] == [draft.hash]
    assert (slow.paid, len(slow.signer.requests)) == (1000, 1)


async def test_what_the_pool_dropped_is_handed_over_again(slow: Actions) -> None:
    wanted = order(SEND)
    draft = await _sent(slow, wanted)
    slow.chain.drop()
    slow.chain.mine(5)
    await _waits(slow, wanted)
    slow.chain.mine(2)
    assert await slow.find(wanted)
    assert [one.hash for one in slow.chain.mined()] == [draft.hash]


async def test_a_gap_that_a_dropped_one_left_is_filled_by_itself(slow: Actions) -> None:
    first, second = order(SEND), order({**SEND, "value": "7"})
    one, other = await _sent(slow, first), await _sent(slow, second)
    assert (one.nonce, other.nonce) == (0, 1)
    del slow.chain.pool[ME, 0]
    slow.chain.mine(2)
    assert slow.chain.mined() == []
    await _waits(slow, first)
    await _waits(slow, second)
    slow.chain.mine(2)
    assert await slow.find(first)
    assert await slow.find(second)
    assert slow.paid == 1007


async def test_an_abandoned_gap_is_filled_by_whoever_comes_next(slow: Actions) -> None:
    abandoned, second = order(SEND), order({**SEND, "value": "7"})
    await _sent(slow, abandoned)
    await _sent(slow, second)
    del slow.chain.pool[ME, 0]
    await _sent(slow, order({**SEND, "value": "50"}))
    slow.chain.mine(2)
    assert await slow.find(second)
    assert slow.paid == 57


async def test_who_is_displaced_by_another_wallet_begins_anew(slow: Actions) -> None:
    wanted = order(SEND)
    first = await _sent(slow, wanted)
    slow.pay(1, nonce=0)
    slow.chain.mine()
    # The other one could still be taken back.
    await _waits(slow, wanted)
    slow.chain.mine()
    assert await slow.find(wanted) is None
    second = await _sent(slow, wanted)
    slow.chain.mine(2)
    assert (await _found(slow, wanted)).value != {}
    assert (first.nonce, second.nonce, slow.paid) == (0, 1, 1000)


async def test_who_displaced_whom_is_found_among_many_blocks(slow: Actions) -> None:
    wanted = order(SEND)
    await _sent(slow, wanted)
    slow.chain.mine(0)
    slow.pay(1, nonce=0)
    slow.chain.mine(1)
    for nonce in range(1, 4):
        slow.chain.mine(9)
        slow.pay(1, nonce=nonce)
        slow.chain.mine(1)
    slow.chain.mine(40)
    assert await slow.find(wanted) is None


async def test_a_node_without_receipts_does_not_make_us_pay_twice(slow: Actions) -> None:
    wanted = order(SEND)
    await _sent(slow, wanted)
    slow.chain.mine(9)
    # It has the block, and not yet the index of what is in it.
    slow.front.fail_next("", "", Says(200, b'{"jsonrpc": "2.0", "id": 1, "result": null}'))
    await _waits(slow, wanted)
    assert await slow.find(wanted)


async def test_blocks_from_before_the_draft_may_be_replaced_by_one_that_has_it(
    slow: Actions,
) -> None:
    wanted = order(SEND)
    draft = await _sent(slow, wanted)
    assert draft.block == 3
    del slow.chain.blocks[-2:]
    slow.chain.mine(9)
    assert slow.chain.blocks[2].transactions
    slow.front.fail_next("", "", Says(200, b'{"jsonrpc": "2.0", "id": 1, "result": null}'))
    await _waits(slow, wanted)
    assert await slow.find(wanted)


async def test_a_block_that_is_replaced_tells_nothing(slow: Actions) -> None:
    wanted = order(SEND)
    draft = await _sent(slow, wanted)
    slow.chain.mine()
    await _waits(slow, wanted)
    slow.chain.reorganise(1)
    await _waits(slow, wanted)
    slow.chain.mine(2)
    assert await slow.find(wanted)
    assert [one.hash for one in slow.chain.mined()] == [draft.hash]


async def test_a_replaced_block_whose_transactions_are_lost_is_no_loss(slow: Actions) -> None:
    wanted = order(SEND)
    await _sent(slow, wanted)
    slow.chain.mine()
    slow.chain.reorganise(1, drops=True)
    await _waits(slow, wanted)
    slow.chain.mine(2)
    assert await slow.find(wanted)
    assert slow.paid == 1000


async def test_a_displacement_that_is_taken_back_does_not_make_us_pay_twice(slow: Actions) -> None:
    wanted = order(SEND)
    draft = await _sent(slow, wanted)
    ours = slow.chain.pool[ME, 0]
    slow.pay(1, nonce=0)
    slow.chain.mine()
    await _waits(slow, wanted)
    slow.chain.reorganise(1, drops=True)
    slow.chain.take(ours.raw)
    slow.chain.mine(2)
    assert await slow.find(wanted)
    assert [one.hash for one in slow.chain.mined()] == [draft.hash]


async def test_what_was_reverted_in_its_block_is_told_and_not_repeated(slow: Actions) -> None:
    wanted = order({**SEND, "value": str(9 * 10**17)})
    await _sent(slow, wanted)
    slow.chain.state.balances[ME] -= 2 * 10**17
    slow.chain.mine(2)
    found = await _found(slow, wanted)
    assert (found.reason, slow.paid) == ("REVERTED", 0)


# --- Several at once -----------------------------------------------------------------------------


async def test_two_calls_of_one_worker_take_one_nonce_after_the_other(slow: Actions) -> None:
    orders = [order({**SEND, "value": str(value)}) for value in range(1, 9)]
    drafts = await asyncio.gather(*(_sent(slow, one) for one in orders))
    assert sorted(one.nonce for one in drafts) == [*range(8)]
    slow.chain.mine(2)
    assert all([await slow.find(one) for one in orders])


async def test_workers_that_do_not_know_of_each_other_pay_everything_once(slow: Actions) -> None:
    orders = [order({**SEND, "value": str(10**index)}) for index in range(5)]
    left = [(slow.restarted()["evm.send"], one) for one in orders]
    started = await asyncio.gather(
        *(worker.perform(one) for worker, one in left), return_exceptions=True
    )
    assert all(isinstance(one, PeerUnavailable) for one in started)
    for _ in range(20):
        slow.chain.mine()
        left = [(worker, one) for worker, one in left if not await _is_over(worker, one)]
    assert left == []
    assert slow.paid == 11111
    assert len(slow.chain.mined()) == 5


async def _is_over(worker: Connector, one: Order) -> bool:
    """Do what a run does with a call that may have happened."""
    try:
        found = await worker.find(one) or await worker.perform(one)
    except PeerUnavailable:
        return False
    assert not found.reason
    return True


async def test_another_worker_with_higher_fees_displaces_without_loss(slow: Actions) -> None:
    first, second = order(SEND), order({**SEND, "value": "7"})
    one = await _sent(slow, first)
    held = slow.chain.pool.pop((ME, 0))
    slow.chain.base_fee = 2 * GWEI
    other = await _sent(slow, second)
    assert (one.nonce, other.nonce) == (0, 0)
    slow.chain.mine(2)
    assert await slow.find(second)
    assert await slow.find(first) is None
    await _sent(slow, first)
    slow.chain.mine(2)
    assert await slow.find(first)
    assert slow.paid == 1007
    assert held.hash not in {one.hash for one in slow.chain.mined()}


# --- What nodes say ------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["nonce too low", "replacement transaction underpriced", "?"])
async def test_what_a_node_does_not_take_may_be_with_another_one(
    slow: Actions, message: str
) -> None:
    slow.node.errors["eth_sendRawTransaction"] = RpcError(-32000, message)
    wanted = order(SEND)
    with pytest.raises(PeerUnavailable) as raised:
        await slow.do("evm.send", wanted)
    assert not isinstance(raised.value, Unsent)
    await _waits(slow, wanted)
    slow.chain.mine(2)
    assert await slow.find(wanted)


async def test_who_wants_to_be_left_alone_has_not_taken_it(slow: Actions) -> None:
    wanted = order(SEND)
    slow.node.errors["eth_sendRawTransaction"] = RpcError(-32005, "limit exceeded")
    with pytest.raises(Unsent):
        await slow.do("evm.send", wanted)
    before = read_draft(wanted.draft.text)
    await _sent(slow, wanted)
    assert read_draft(wanted.draft.text) == before
    assert len(slow.signer.requests) == 1


@pytest.mark.parametrize(
    "method",
    ["eth_chainId", "eth_blockNumber", "eth_getTransactionReceipt", "eth_getTransactionByHash"],
)
@pytest.mark.parametrize("code", [-32000, -32005])
async def test_who_cannot_look_has_not_said_no(slow: Actions, method: str, code: int) -> None:
    wanted = order(SEND)
    await _sent(slow, wanted)
    slow.node.errors[method] = RpcError(code, "header not found")
    await _waits(slow, wanted)


async def test_a_node_of_another_chain_says_nothing(slow: Actions) -> None:
    wanted = order(SEND)
    await _sent(slow, wanted)
    slow.chain.mine(4)
    slow.chain.chain_id = 1
    await _waits(slow, wanted)


async def _found(slow: Actions, wanted: Order) -> Result:
    found = await slow.find(wanted)
    assert found
    return found
