"""Transactions: what is sent, what is refused before anything is signed, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import JsonValue

from runtime.connectors import Order, Unsent
from runtime.connectors.evm.drafts import read_draft
from runtime.ports import PersonAwaited, RunFails, SignedTransaction
from tests.fakes import evm
from tests.fakes.evm import ETHER, GWEI
from tests.fakes.evm_keys import evm_key, signed
from tests.fakes.evm_node import RpcError
from tests.fakes.front import Says
from tests.runtime.connectors.stand import CANARY, CanarySigner
from tests.runtime.evm.chains import (
    ME,
    PAYEE,
    SEND,
    SEND_TOKEN,
    SETTINGS,
    USDC,
    WRITE,
    Actions,
    Wallet,
    order,
)


async def test_ether_is_sent_and_told_once_it_is_certain(actions: Actions) -> None:
    result = await actions.perform("evm.send", SEND)
    [sent] = actions.chain.mined()
    assert (sent.sender, sent.to, sent.value, sent.nonce) == (ME, PAYEE, 1000, 0)
    fee = 21_000 * (actions.chain.base_fee + actions.node.tip)
    assert result.value == {"transaction": sent.hash, "block": 4, "fee": str(fee)}
    assert actions.chain.state.balances[ME] == ETHER - 1000 - fee


@pytest.mark.parametrize(
    ("name", "arguments"), [("evm.send_token", SEND_TOKEN), ("evm.write", WRITE)]
)
async def test_a_token_is_sent_in_two_ways(
    actions: Actions, name: str, arguments: dict[str, JsonValue]
) -> None:
    result = await actions.perform(name, arguments)
    assert not result.reason
    assert actions.chain.state.storage[USDC] == {ME: 10**9 - 10**6, PAYEE: 10**6}


async def test_a_method_may_be_paid(actions: Actions) -> None:
    arguments = {**WRITE, "contract": PAYEE, "value": "7"}
    result = await actions.perform("evm.write", arguments)
    assert (result.reason, actions.paid) == ("", 7)


# --- Before anything is signed -------------------------------------------------------------------

REFUSALS: list[tuple[str, dict[str, JsonValue], str, str]] = [
    ("evm.send", {**SEND, "value": str(2 * ETHER)}, "BALANCE_TOO_LOW", "has 10"),
    ("evm.send", {**SEND, "value": str(ETHER - 1)}, "BALANCE_TOO_LOW", "with its fee"),
    ("evm.send", {**SEND, "value": str(2**256)}, "VALUE_TOO_LARGE", "beyond"),
    ("evm.send", {**SEND, "to": "0x" + "aA" * 20}, "ADDRESS_INVALID", "checksum of to"),
    (
        "evm.send_token",
        {**SEND_TOKEN, "value": str(10**10)},
        "WOULD_REVERT",
        "ERC20: transfer amount exceeds balance",
    ),
    ("evm.send_token", {**SEND_TOKEN, "token": "0x" + "aA" * 20}, "ADDRESS_INVALID", "token"),
    ("evm.write", {**WRITE, "method": "mint(uint256)", "arguments": ["1"]}, "WOULD_REVERT", ""),
    ("evm.write", {**WRITE, "method": "transfer"}, "METHOD_INVALID", "has no ("),
    ("evm.write", {**WRITE, "arguments": [PAYEE]}, "ARGUMENTS_INVALID", "takes 2"),
    ("evm.write", {**WRITE, "arguments": [PAYEE, "-1"]}, "ARGUMENTS_INVALID", "arguments[1]"),
    ("evm.write", {**WRITE, "value": "7"}, "WOULD_REVERT", ""),
]


@pytest.mark.parametrize(("name", "arguments", "reason", "message"), REFUSALS)
async def test_what_would_fail_is_not_signed(
    actions: Actions, name: str, arguments: dict[str, JsonValue], reason: str, message: str
) -> None:
    result = await actions.perform(name, arguments)
    assert result.reason == reason
    assert isinstance(result.value, dict)
    assert message in str(result.value["message"])
    assert (actions.signer.requests, actions.chain.seen) == ([], [])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"fee_per_gas_max": str(GWEI - 1)}, "FEES_TOO_HIGH"),
        ({"gas_limit_max": 21_000}, "GAS_TOO_HIGH"),
    ],
)
async def test_what_would_cost_more_than_the_settings_say_is_not_signed(
    actions: Actions, settings: dict[str, JsonValue], reason: str
) -> None:
    result = await actions.perform("evm.send_token", SEND_TOKEN, settings={**SETTINGS, **settings})
    assert (result.reason, actions.signer.requests) == (reason, [])


async def test_fees_are_bounded_by_the_settings_and_by_twice_what_is_asked(
    actions: Actions,
) -> None:
    await actions.perform("evm.send", SEND)
    await actions.perform("evm.send", SEND, settings={**SETTINGS, "fee_per_gas_max": str(GWEI + 1)})
    actions.node.tip = 200 * GWEI
    await actions.perform("evm.send", SEND)
    fees = [(one.fee, one.tip) for one in actions.chain.mined()]
    assert fees[0] == (2 * GWEI + GWEI // 10, GWEI // 10)
    assert fees[1] == (GWEI + 1, GWEI // 10)
    assert fees[2] == (100 * GWEI, 100 * GWEI)


async def test_a_node_that_knows_no_tips_is_tipped_what_is_usual(actions: Actions) -> None:
    actions.node.errors["eth_maxPriorityFeePerGas"] = RpcError(-32601, "no such method")
    await actions.perform("evm.send", SEND)
    assert actions.chain.mined()[0].tip == GWEI


async def test_a_node_of_another_chain_is_a_mistake_of_the_author(actions: Actions) -> None:
    with pytest.raises(RunFails, match="CHAIN_WRONG"):
        await actions.perform("evm.send", SEND, settings={**SETTINGS, "chain_id": 1})
    assert actions.signer.requests == []


# --- Keys ----------------------------------------------------------------------------------------


async def test_what_a_person_approves_is_what_is_sent(actions: Actions) -> None:
    wanted = order(SEND)
    await _until_a_person_is_asked(actions, wanted)
    actions.chain.base_fee += 1
    await _until_a_person_is_asked(actions, wanted)
    await actions.do("evm.send", wanted)
    assert len(actions.signer.asked) == 2
    assert {*actions.signer.asked} == {*actions.signer.requests}
    assert actions.paid == 1000


async def test_what_was_approved_too_late_is_made_anew(actions: Actions) -> None:
    wanted = order(SEND)
    await _until_a_person_is_asked(actions, wanted)
    first = read_draft(wanted.draft.text)
    actions.pay(1, nonce=0)
    await actions.do("evm.send", wanted)
    second = read_draft(wanted.draft.text)
    assert first
    assert second
    assert (first.nonce, second.nonce, actions.paid) == (0, 1, 1000)


async def test_fees_that_are_too_low_by_now_are_made_anew(actions: Actions) -> None:
    wanted = order(SEND)
    await _until_a_person_is_asked(actions, wanted)
    actions.chain.base_fee *= 10
    await actions.do("evm.send", wanted)
    assert (len(actions.chain.seen), actions.paid) == (1, 1000)


async def test_what_takes_more_gas_by_now_is_made_anew(
    actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(SEND_TOKEN)
    actions.signer.asks = True
    with pytest.raises(PersonAwaited):
        await actions.do("evm.send_token", wanted)
    actions.signer.asks = False
    monkeypatch.setattr(evm, "TOKEN_GAS", 2 * evm.TOKEN_GAS)
    assert (await actions.do("evm.send_token", wanted)).reason == ""


async def test_another_key_begins_anew(actions: Actions) -> None:
    wanted = order(SEND)
    await _until_a_person_is_asked(actions, wanted)
    actions.signer.evm_key = evm_key(2)
    await actions.do("evm.send", wanted)
    draft = read_draft(wanted.draft.text)
    assert draft
    assert draft.account == evm_key(2).address
    assert [one.sender for one in actions.chain.mined()] == [evm_key(2).address]


async def test_what_another_key_has_signed_is_not_sent(
    actions: Actions, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(SEND)

    async def sign(credential: str, transaction: bytes, *, account: str) -> SignedTransaction:
        # The key was replaced since its address was asked for.
        return signed(evm_key(2), transaction)

    with monkeypatch.context() as patch, pytest.raises(Unsent):
        patch.setattr(actions.signer, "sign_transaction", sign)
        await actions.do("evm.send", wanted)
    assert actions.chain.seen == []
    await actions.do("evm.send", wanted)
    assert actions.paid == 1000


async def _until_a_person_is_asked(actions: Actions, wanted: Order) -> None:
    """Lay a transaction down that waits for its signature."""
    actions.signer.asks = True
    with pytest.raises(PersonAwaited):
        await actions.do("evm.send", wanted)
    actions.signer.asks = False


class CanaryWallet(CanarySigner, Wallet):
    """One whose keys of nodes are the canary."""


async def test_the_key_of_a_node_is_in_its_address_and_nowhere_else() -> None:
    actions = Actions(signer=CanaryWallet())
    actions.node.path = f"/v3/{CANARY}"
    settings = {**SETTINGS, "url": "http://node.test/v3/{key}", "url_key": "infura"}
    async with actions.front.listening():
        wanted = replace(order(SEND), settings=settings)
        result = await actions.do("evm.send", wanted)
        actions.front.fail_next(Says(401, f'{{"message": "{CANARY} is no project"}}'.encode()))
        refused = await actions.perform("evm.send", SEND, settings=settings)
    assert (result.reason, refused.reason) == ("", "NODE_REFUSED")
    assert CANARY not in f"{result} {refused} {wanted}"
    assert {one.scheme for one in actions.signer.authorized} == {"key_url"}


@pytest.mark.parametrize(
    "settings",
    [{"url": "http://node.test/{key}"}, {"url_key": "infura"}, {"url": "http://node.test:x"}],
)
async def test_settings_that_cannot_be_right_fail_the_run(
    actions: Actions, settings: dict[str, JsonValue]
) -> None:
    with pytest.raises(RunFails, match="SETTINGS_INVALID"):
        await actions.perform("evm.send", SEND, settings={**SETTINGS, **settings})
