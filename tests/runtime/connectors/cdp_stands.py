"""The stands of the actions on Coinbase CDP."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from tests.fakes.cdp import ME as HOLDER
from tests.fakes.cdp import NATIVE, USDC, FakeCdp
from tests.fakes.cdp import OTHER as PAYEE
from tests.fakes.cdp_tokens import KEY_ID
from tests.fakes.internet import Site
from tests.runtime.connectors.stand import Subject
from tests.runtime.connectors.stands import URL, before_site

_PAID: dict[str, JsonValue] = {"from": HOLDER, "network": "base"}
_SWAP: dict[str, JsonValue] = {
    **_PAID,
    "from_token": NATIVE,
    "to_token": USDC,
    "from_amount": "1000",
    "slippage_bps": 100,
}
WITH_WALLET = {
    "cdp.create_account",
    "cdp.send",
    "cdp.send_token",
    "cdp.approve_token",
    "cdp.sign_message",
    "cdp.sign_typed_data",
    "cdp.sign_transaction",
    "cdp.swap",
}


def _of_cdp(
    name: str,
    arguments: Mapping[str, JsonValue],
    effects: Callable[[FakeCdp], int] = lambda _: 0,
    *,
    lookups: int = 0,
) -> Subject:
    def serves() -> tuple[Site, Callable[[], int]]:
        cdp = FakeCdp()
        return cdp, lambda: effects(cdp)

    settings: dict[str, JsonValue] = {"url": URL, "key_id": KEY_ID}
    if name in WITH_WALLET:
        settings["wallet"] = "cdp-wallet"
    return Subject(name, before_site(name, serves, settings), arguments, lookups=lookups)


def _transactions(cdp: FakeCdp) -> int:
    return len(cdp.transactions)


def _signatures(cdp: FakeCdp) -> int:
    return len(cdp.signatures)


CDP_SUBJECTS = [
    _of_cdp("cdp.create_account", {"name": "trader"}, lambda cdp: len(cdp.accounts) - 1),
    _of_cdp("cdp.accounts", {}),
    _of_cdp("cdp.account", {"account": "treasury"}),
    _of_cdp("cdp.balances", {"address": HOLDER, "network": "base"}),
    _of_cdp("cdp.send", {**_PAID, "to": PAYEE, "value": "1000"}, _transactions),
    _of_cdp(
        "cdp.send_token", {**_PAID, "token": USDC, "to": PAYEE, "value": "1000"}, _transactions
    ),
    _of_cdp(
        "cdp.approve_token",
        {**_PAID, "token": USDC, "spender": PAYEE, "value": "1000"},
        _transactions,
    ),
    _of_cdp("cdp.sign_message", {"from": HOLDER, "message": "Hello"}, _signatures),
    _of_cdp(
        "cdp.sign_typed_data",
        {
            "from": HOLDER,
            "domain": {"name": "Notes", "chainId": 8453},
            "types": {"Note": [{"name": "text", "type": "string"}]},
            "primaryType": "Note",
            "message": {"text": "Hello"},
        },
        _signatures,
    ),
    _of_cdp(
        "cdp.sign_transaction",
        {
            **_PAID,
            "to": PAYEE,
            "value": "1000",
            "nonce": "7",
            "gas_limit": "21000",
            "fee_per_gas_max": "2000000000",
            "priority_fee_per_gas_max": "1000000",
        },
        _signatures,
    ),
    _of_cdp("cdp.swap_quote", _SWAP),
    _of_cdp("cdp.swap", {**_SWAP, "min_to_amount": "1980"}, _transactions, lookups=1),
    _of_cdp(
        "cdp.faucet",
        {"network": "base-sepolia", "address": HOLDER, "token": "eth"},
        lambda cdp: len(cdp.faucets),
    ),
]
