"""The actions before a node of the test, with accounts that have something."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Connector, Draft, Order, Result
from runtime.connectors.evm import evm_actions
from runtime.connectors.evm.transactions import Transaction
from runtime.ports import PersonAwaited, SignedTransaction
from tests.fakes.evm import CHAIN_ID, ETHER, GWEI, Chain, token
from tests.fakes.evm_keys import evm_key, signed
from tests.fakes.evm_node import FakeNode
from tests.fakes.front import Front
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeSigner

ME = evm_key(1).address
OTHER = evm_key(2).address
PAYEE = f"0x{'aa' * 20}"
USDC = f"0x{'cc' * 20}"
SETTINGS: dict[str, JsonValue] = {
    "url": "http://node.test",
    "chain_id": CHAIN_ID,
    "fee_per_gas_max": str(100 * GWEI),
}
READ_SETTINGS = {name: SETTINGS[name] for name in ("url", "chain_id")}
ORDER = Order(
    key="runs/1/call/step-1-1",
    account="agents/treasurer",
    arguments={},
    settings=SETTINGS,
    credential="secrets/wallet",
    collections=(),
    time=datetime(2026, 1, 1, tzinfo=UTC),
)
SEND: dict[str, JsonValue] = {"to": PAYEE, "value": "1000"}
SEND_TOKEN: dict[str, JsonValue] = {"token": USDC, "to": PAYEE, "value": "1000000"}
WRITE: dict[str, JsonValue] = {
    "contract": USDC,
    "method": "transfer(address to, uint256 amount) returns (bool)",
    "arguments": [PAYEE, "1000000"],
}


def chain(*, is_instant: bool = True) -> Chain:
    """Return a chain on which both accounts have ether, and one a token."""
    made = Chain(is_instant=is_instant)
    made.contracts[USDC] = token
    made.state.balances.update({ME: ETHER, OTHER: ETHER})
    made.state.storage[USDC] = {ME: 10**9}
    made.mine(3)
    return made


class Wallet(FakeSigner):
    """`Signer` that tells its address, and may ask a person before it signs a transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = False
        self.asked: list[bytes] = []

    async def sign_transaction(
        self, credential: str, transaction: bytes, *, account: str
    ) -> SignedTransaction:
        """Sign, or ask."""
        if self.asks:
            self.asked.append(transaction)
            raise PersonAwaited("a person", "approvals/1", "large-transfers")
        return await super().sign_transaction(credential, transaction, account=account)


@dataclass
class Actions:
    """The actions, and all that is around them."""

    chain: Chain = field(default_factory=chain)
    signer: Wallet = field(default_factory=Wallet)
    internet: Internet = field(default_factory=Internet)

    def __post_init__(self) -> None:
        self.node = FakeNode(chain=self.chain)
        self.front = Front(inner=self.node)
        self.internet.put("node.test", self.front)
        self.actions = self.restarted()

    def restarted(self) -> dict[str, Connector]:
        """Return the actions of a new process."""
        found = evm_actions(self.internet.egress(), self.signer)
        return {one.descriptor.name: one for one in found}

    async def perform(
        self, name: str, arguments: dict[str, JsonValue], **changes: object
    ) -> Result:
        """Perform a call, whose arguments and result are what the descriptor says."""
        if self.actions[name].descriptor.effect == "read":
            changes = {"settings": READ_SETTINGS, **changes}
        return await self.do(name, order(arguments, **changes))

    async def do(self, name: str, wanted: Order) -> Result:
        """Perform an order."""
        action = self.actions[name]
        for schema, value in (
            (action.descriptor.parameters_schema, dict(wanted.arguments)),
            (action.descriptor.settings_schema, dict(wanted.settings)),
        ):
            Draft202012Validator(schema).validate(value)
        result = await action.perform(wanted)
        if not result.reason:
            Draft202012Validator(action.descriptor.output_schema).validate(result.value)
        return result

    async def find(self, wanted: Order) -> Result | None:
        """Look for what came of an order."""
        return await self.actions["evm.send"].find(wanted)

    def pay(self, key: int, *, nonce: int, fee: int = 50 * GWEI, value: int = 1) -> str:
        """Send a transaction from outside, with a key that others have as well."""
        made = Transaction(CHAIN_ID, OTHER, value, b"", nonce, 21_000, fee, GWEI)
        return self.chain.take(signed(evm_key(key), made.unsigned).raw)

    @property
    def paid(self) -> int:
        """Return what the payee has."""
        return self.chain.state.balances.get(PAYEE, 0)


def order(arguments: dict[str, JsonValue], **changes: object) -> Order:
    """Return an order with a draft of its own."""
    return replace(ORDER, arguments=arguments, draft=Draft(), **changes)  # type: ignore[arg-type]  # its fields
