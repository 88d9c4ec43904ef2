"""Swaps: what is carried out is what was decided about, or nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from runtime.connectors import Unsent
from tests.fakes.cdp import ME, NATIVE, OTHER, PERMIT2, ROUTER, USDC, signature_of
from tests.fakes.front import Fault, Says
from tests.runtime.cdp.actions import SWAP, SWAP_TOKEN, Actions

# With 1% of slippage, at two for one.
NATIVE_SWAP: dict[str, JsonValue] = {**SWAP, "min_to_amount": "1980"}
TOKEN_SWAP: dict[str, JsonValue] = {**SWAP_TOKEN, "min_to_amount": "1980"}


async def test_a_quote_says_what_comes_back_and_what_is_lacking(actions: Actions) -> None:
    quote = await actions.call("cdp.swap_quote", **SWAP)
    assert quote.value == {"to_amount": "2000", "min_to_amount": "1980", "lacks": []}
    actions.cdp.allow("base", ME, USDC, PERMIT2, 0)
    actions.cdp.hold("base", ME, USDC, 7)
    quote = await actions.call("cdp.swap_quote", **SWAP_TOKEN)
    lacks: list[JsonValue] = ["allowance", "balance"]
    amounts = {"to_amount": "2000", "min_to_amount": "1980"}
    assert quote.value == {**amounts, "lacks": lacks, "spender": PERMIT2}


async def test_ether_is_swapped_with_the_transaction_of_the_quote(actions: Actions) -> None:
    result = await actions.call("cdp.swap", **NATIVE_SWAP)
    [sent] = actions.cdp.transactions
    assert (sent.to, sent.value, sent.data, sent.gas) == (ROUTER, 1000, "1234", 100_000)
    assert isinstance(result.value, dict)
    assert (result.value["to_amount"], result.value["min_to_amount"]) == ("2000", "1980")
    assert actions.cdp.signatures == []


async def test_a_token_is_swapped_with_a_signature_that_lets_it_be_taken(actions: Actions) -> None:
    await actions.call("cdp.swap", **TOKEN_SWAP)
    [(kind, body)], [sent] = actions.cdp.signatures, actions.cdp.transactions
    permit = json.loads(body)
    signature = signature_of(permit)[2:]
    assert (kind, permit["message"]["permitted"]) == (
        "typed-data",
        {"token": USDC, "amount": "1000"},
    )
    assert (sent.value, sent.data) == (0, f"1234{65:064x}{signature}")


async def test_a_price_below_the_least_that_was_decided_about_is_not_taken(
    actions: Actions,
) -> None:
    result = await actions.call("cdp.swap", **{**NATIVE_SWAP, "min_to_amount": "1981"})
    assert result.reason == "PRICE_MOVED"
    assert "1980" in str(result.value)
    assert (actions.cdp.transactions, len(actions.cdp.asked)) == ([], 1)


@pytest.mark.parametrize(
    ("amount", "allowance", "expected"),
    [(7, 10**9, "BALANCE_TOO_LOW"), (10**9, 7, "ALLOWANCE_TOO_LOW")],
)
async def test_a_swap_that_would_fail_is_not_sent(
    actions: Actions, amount: int, allowance: int, expected: str
) -> None:
    actions.cdp.hold("base", ME, USDC, amount)
    actions.cdp.allow("base", ME, USDC, PERMIT2, allowance)
    assert (await actions.call("cdp.swap", **TOKEN_SWAP)).reason == expected
    assert (actions.cdp.signatures, actions.cdp.transactions) == ([], [])


@pytest.mark.parametrize("name", ["cdp.swap_quote", "cdp.swap"])
async def test_where_nobody_changes_the_tokens_that_is_told(actions: Actions, name: str) -> None:
    actions.front.fail_next(Says(200, b'{"liquidityAvailable": false}'))
    arguments = SWAP if name == "cdp.swap_quote" else NATIVE_SWAP
    assert (await actions.call(name, **arguments)).reason == "NO_LIQUIDITY"


def _set(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(quote: dict[str, Any]) -> None:
        *before, last = path
        for name in before:
            quote = quote[name]
        assert quote[last] != to, "it is changed"
        quote[last] = to

    return change


_PERMIT = ("permit2", "eip712")
SPOILED = [
    _set("fromToken", to=NATIVE),
    _set("toToken", to=OTHER),
    _set("fromAmount", to="1001"),
    _set("transaction", "value", to="1"),
    _set(*_PERMIT, "primaryType", to="PermitBatchTransferFrom"),
    _set(*_PERMIT, "domain", "chainId", to=1),
    _set(*_PERMIT, "domain", "verifyingContract", to=OTHER),
    _set(*_PERMIT, "message", "permitted", "token", to=OTHER),
    _set(*_PERMIT, "message", "permitted", "amount", to=str(2**255)),
]


@pytest.mark.parametrize("spoil", SPOILED)
async def test_a_quote_of_something_else_is_neither_signed_nor_sent(
    actions: Actions, spoil: Callable[[dict[str, Any]], object]
) -> None:
    actions.cdp.spoil = spoil
    assert (await actions.call("cdp.swap", **TOKEN_SWAP)).reason == "QUOTE_UNFIT"
    assert (actions.cdp.signatures, actions.cdp.transactions) == ([], [])


async def test_ether_is_not_paid_twice_over(actions: Actions) -> None:
    actions.cdp.spoil = _set("transaction", "value", to="1001")
    assert (await actions.call("cdp.swap", **NATIVE_SWAP)).reason == "QUOTE_UNFIT"
    assert actions.cdp.transactions == []


MALFORMED = [
    _set("issues", to=None),
    _set("minToAmount", to="-1"),
    _set("transaction", to=[]),
    _set("transaction", "data", to="0x123"),
    _set("transaction", "to", to="../me"),
    _set(*_PERMIT, to=7),
]


@pytest.mark.parametrize("spoil", MALFORMED)
async def test_a_quote_that_makes_no_sense_is_asked_for_again(
    actions: Actions, spoil: Callable[[dict[str, Any]], object]
) -> None:
    actions.cdp.spoil = spoil
    with pytest.raises(Unsent):
        await actions.call("cdp.swap", **TOKEN_SWAP)
    assert actions.cdp.transactions == []


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("kind", ["lost", "503"])
async def test_before_it_is_sent_nothing_has_happened(
    actions: Actions, after: int, kind: str
) -> None:
    faults: list[Fault] = ["", "", Says(503) if kind == "503" else "lost"]
    actions.front.fail_next(*faults[2 - after :])
    with pytest.raises(Unsent):
        await actions.call("cdp.swap", **TOKEN_SWAP)
    assert actions.cdp.transactions == []
    # Another quote comes with another permit, which is not taken for the one before.
    nonce = _set(*_PERMIT, "message", "nonce", to="7")
    actions.cdp.spoil = nonce
    assert not (await actions.call("cdp.swap", **TOKEN_SWAP)).reason
    assert len(actions.cdp.transactions) == 1


async def test_once_it_is_sent_a_lost_answer_leaves_it_open(actions: Actions) -> None:
    actions.front.fail_next("", "", "lost")
    with pytest.raises(PeerUnavailable) as raised:
        await actions.call("cdp.swap", **TOKEN_SWAP)
    assert not isinstance(raised.value, Unsent)
    # Even if somebody asked again, with another quote: it is one transaction.
    actions.cdp.spoil = _set("transaction", "data", to="0x5678")
    with pytest.raises(PeerUnavailable):
        await actions.call("cdp.swap", **TOKEN_SWAP)
    assert len(actions.cdp.transactions) == 1
