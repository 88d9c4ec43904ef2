"""What is asked of CDP, and understood, is what Coinbase has published."""

from __future__ import annotations

import json
import random

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from tests.fakes.front import Fault, Says
from tests.openapi import Specification
from tests.runtime.cdp.actions import CALLS, Actions
from tests.specs import specs_folder

NAME = "coinbase-cdp"


def _specification() -> Specification:
    return Specification(specs_folder(NAME) / "openapi.yaml")


@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_every_request_and_every_answer_of_the_fake_is_one_of_the_specification(
    actions: Actions, name: str, arguments: dict[str, JsonValue]
) -> None:
    specification = _specification()
    assert not (await actions.call(name, **arguments)).reason
    assert actions.cdp.asked
    for one, (status, value) in zip(actions.cdp.asked, actions.cdp.said, strict=True):
        kind = one.headers.get("content-type", "")
        specification.check(one.method, one.target, kind, one.body, one.headers)
        specification.check_answer(one.method, one.path, status, value)


def test_a_request_that_is_none_of_the_specification_is_noticed() -> None:
    specification = _specification()
    address = f"0x{'0' * 40}"
    wallet = {"x-wallet-auth": "a.b.c"}
    send = f"/v2/evm/accounts/{address}/send/transaction"
    sent = b'{"network": "base", "transaction": "0x02"}'
    specification.check("POST", send, "application/json", sent, wallet)
    for method, target, body, headers in [
        ("POST", send, sent, {}),
        ("POST", send, sent, {**wallet, "x-idempotency-key": ""}),
        ("POST", send, b'{"network": "bitcoin", "transaction": "0x02"}', wallet),
        ("POST", send, b'{"network": "base"}', wallet),
        ("POST", "/v2/evm/accounts/treasury/send/transaction", sent, wallet),
        ("GET", "/v2/evm/swaps/quote?network=base", b"", {}),
        ("PUT", "/v2/evm/faucet", b"{}", {}),
    ]:
        with pytest.raises(Exception, match=r".+"):
            specification.check(method, target, "application/json", body, headers)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_whatever_the_specification_lets_cdp_answer_is_understood_or_says_nothing(
    actions: Actions, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    specification = _specification()
    await actions.call(name, **arguments)
    *first, last = actions.cdp.asked
    status, value = specification.answer(last.method, last.path, random.Random(seed))
    fine: list[Fault] = [""] * len(first)
    actions.front.fail_next(*fine, Says(status, json.dumps(value).encode()))
    try:
        result = await actions.call(name, **arguments)
    except PeerUnavailable:
        # These have no form in the specification.
        assert {*value} & {"transactionHash", "signature", "signedTransaction"}
    else:
        assert isinstance(result.value, dict)
        assert result.reason in {"", "NO_LIQUIDITY", "QUOTE_UNFIT"}
