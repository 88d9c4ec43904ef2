"""The actions on CDP before a site of the test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Connector, Order, Result
from runtime.connectors.cdp import cdp_actions
from tests.fakes.cdp import ME, NATIVE, OTHER, USDC, FakeCdp
from tests.fakes.cdp_tokens import KEY_ID
from tests.fakes.front import Front
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner

ORDER = Order(
    key="runs/1/call/step-1-1",
    account="agents/treasurer",
    arguments={},
    settings={"url": "http://cdp.test", "key_id": KEY_ID, "wallet": "cdp-wallet"},
    credential="secrets/cdp",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)
ETHER = 10**18


class Actions:
    """The actions before one site, with a front that loses answers."""

    def __init__(self, cdp: FakeCdp) -> None:
        self.cdp = cdp
        self.front = Front(inner=cdp)
        self.internet = Internet()
        self.internet.put("cdp.test", self.front)
        self.signer = FakeSigner()
        actions = cdp_actions(self.internet.egress(), self.signer)
        self.by_name: dict[str, Connector] = {one.descriptor.name: one for one in actions}
        self.order = ORDER

    async def call(self, name: str, /, **arguments: JsonValue) -> Result:
        """Perform an action, as policy lets it through."""
        action = self.by_name[name]
        Draft202012Validator(action.descriptor.parameters_schema).validate(arguments)
        result = await action.perform(replace(self.order, arguments=arguments))
        if not result.reason:
            Draft202012Validator(action.descriptor.output_schema).validate(result.value)
        return result


PAID: dict[str, JsonValue] = {"from": ME, "network": "base"}
SEND: dict[str, JsonValue] = {**PAID, "to": OTHER, "value": "1000"}
SEND_TOKEN: dict[str, JsonValue] = {**SEND, "token": USDC}
TYPED_DATA: dict[str, JsonValue] = {
    "from": ME,
    "domain": {"name": "Notes", "chainId": 8453, "verifyingContract": OTHER},
    "types": {"Note": [{"name": "amount", "type": "uint256"}]},
    "primaryType": "Note",
    "message": {"amount": str(2**255)},
}
SIGN_TRANSACTION: dict[str, JsonValue] = {
    **SEND,
    "data": "0xd0e30db0",
    "nonce": "7",
    "gas_limit": "21000",
    "fee_per_gas_max": "2000000000",
    "priority_fee_per_gas_max": "1000000",
}
SWAP: dict[str, JsonValue] = {
    **PAID,
    "from_token": NATIVE,
    "to_token": USDC,
    "from_amount": "1000",
    "slippage_bps": 100.0,
}
SWAP_TOKEN: dict[str, JsonValue] = {**SWAP, "from_token": USDC, "to_token": NATIVE}

# One call of each, and more of those that can be made in several ways.
CALLS: list[tuple[str, dict[str, JsonValue]]] = [
    ("cdp.create_account", {"name": "trader-1"}),
    ("cdp.accounts", {}),
    ("cdp.accounts", {"count": 1.0, "next": "0"}),
    ("cdp.account", {"account": ME}),
    ("cdp.account", {"account": "treasury"}),
    ("cdp.balances", {"address": ME, "network": "base"}),
    ("cdp.balances", {"address": ME, "network": "base", "count": 1, "next": "1"}),
    ("cdp.send", SEND),
    ("cdp.send_token", SEND_TOKEN),
    ("cdp.approve_token", {**PAID, "token": USDC, "spender": OTHER, "value": "0"}),
    ("cdp.sign_message", {"from": ME, "message": "Hello \U0001f680 & more"}),
    ("cdp.sign_typed_data", TYPED_DATA),
    ("cdp.sign_transaction", SIGN_TRANSACTION),
    ("cdp.swap_quote", SWAP),
    ("cdp.swap", {**SWAP, "min_to_amount": "1980"}),
    ("cdp.swap", {**SWAP_TOKEN, "min_to_amount": "1980"}),
    ("cdp.faucet", {"network": "base-sepolia", "address": ME, "token": "usdc"}),
]
