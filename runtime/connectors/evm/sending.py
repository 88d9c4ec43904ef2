"""A transaction, once: tried, laid down, signed, sent, and looked for until it is certain.

Before it is signed, its nonce and fees are journaled, and before it is sent, its signature: after a
crash the same transaction is sent again, or found by its hash. Two transactions with one nonce
exclude each other, so nobody has to be asked which nonces others use: whoever was too late sees
that another one has its nonce, and begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from pydantic import JsonValue

from chassis.errors import PeerUnavailable

from ...egress import Lost, Refused
from ...egress.client import Egress
from ...ports import RunFails, Signer
from .. import Order, Result, Unsent
from ..http import preparing
from ..keyed import told
from .drafts import Draft, read_draft
from .node import LIMIT_EXCEEDED, METHOD_UNKNOWN, PEER, Node, NodeRefuses, member, quantity
from .reverts import refusal_of
from .settling import Displaced, Mined, Standing, Waiting, standing
from .transactions import Transaction

# What a node is tipped that does not say what is usual: a gwei.
_TIP_DEFAULT = 10**9
# What a transaction uses may be more than when it was tried.
_GAS_MARGIN = 5
# What nodes say of a transaction that they have: geth, Erigon, Nethermind, Besu.
_KNOWN = ("already known", "alreadyknown", "known transaction", "already imported")


@dataclass(frozen=True)
class Call:
    """What a transaction does: `value` is in wei."""

    to: str
    value: int
    data: bytes = b""


@dataclass(frozen=True)
class Prospect:
    """What a chain says before a transaction is made; fees are in wei for a unit of its gas."""

    nonce: int
    block: int
    gas: int
    base_fee: int
    tip: int
    balance: int


class Sender:
    """Sends transactions of accounts whose keys the key manager has."""

    def __init__(self, egress: Egress, signer: Signer) -> None:
        self._egress = egress
        self._signer = signer
        # Where two runs of this worker use one account, the second one waits until the node has
        # what the first one sends, and so takes the next nonce.
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def send(self, order: Order, call: Call) -> Result:
        """Send a call, or what was laid down for it and never sent; as `Connector.perform`."""
        try:
            node = Node(self._egress, self._signer, order)
            async with preparing():
                account = await self._signer.evm_address(order.credential, account=order.account)
                await node.require_chain()
            async with self._line(f"{node.settings.chain_id} {account}"):
                async with preparing():
                    ready = await self._ready(node, order, account, call)
                if isinstance(ready, Result):
                    return ready
                await _hand_over(node, ready)
        except Refused as error:
            return told(error.reason, error.message)
        except NodeRefuses as error:
            return refusal_of(error)
        async with _looking():
            found = await standing(node, ready)
        if isinstance(found, Mined):
            return found.result
        raise PeerUnavailable(f"the chain {node.settings.chain_id}")

    async def find(self, order: Order) -> Result | None:
        """Look what became of a transaction, and hand it over again where the node lost it."""
        draft = read_draft(order.draft.text)
        if draft is None or not draft.raw:
            return None
        async with _looking():
            node = Node(self._egress, self._signer, order)
            await node.require_chain()
            found = await standing(node, draft)
            if isinstance(found, Waiting) and not found.is_known:
                await _hand_over(node, draft)
        if isinstance(found, Mined):
            return found.result
        if isinstance(found, Displaced):
            return None
        raise PeerUnavailable(f"the chain {node.settings.chain_id}")

    def _line(self, account: str) -> asyncio.Lock:
        line = self._lines.get(account)
        if line is None:
            line = self._lines[account] = asyncio.Lock()
        return line

    async def _ready(self, node: Node, order: Order, account: str, call: Call) -> Draft | Result:
        """Return a transaction that is signed and kept, or what is told instead.

        What was kept before has never been sent, or never will be in a block.
        """
        draft = read_draft(order.draft.text)
        if draft and draft.account != account:
            # The key was replaced.
            draft = None
        if draft and draft.raw:
            found: Standing = await standing(node, draft)
            if isinstance(found, Mined):
                return found.result
            if isinstance(found, Waiting):
                return draft
            draft = None
        prospect = await _look_ahead(node, account, call)
        if isinstance(prospect, Result):
            return prospect
        if draft is None or not _still_fits(draft, prospect):
            made = _draft(node, account, call, prospect)
            if isinstance(made, Result):
                return made
            draft = made
            await order.draft.keep(draft.text)
        signed = await self._signer.sign_transaction(
            order.credential, bytes.fromhex(draft.unsigned), account=order.account
        )
        if signed.address != account:
            raise Unsent("keymanager")
        draft = replace(draft, raw=f"0x{signed.raw.hex()}", hash=f"0x{signed.hash.hex()}")
        await order.draft.keep(draft.text)
        return draft


@asynccontextmanager
async def _looking() -> AsyncGenerator[None, None]:
    """Around what is asked once something may have been sent: no failure says that it was not."""
    try:
        yield
    except (Refused, NodeRefuses, RunFails, Unsent) as error:
        raise Lost(PEER) from error


async def _hand_over(node: Node, draft: Draft) -> None:
    """Give a node a transaction; if it does not take it, somebody else may have done so."""
    try:
        await node.ask("eth_sendRawTransaction", draft.raw)
    except NodeRefuses as error:
        if error.code == LIMIT_EXCEEDED:
            raise Unsent(PEER) from error
        if any(words in error.message.lower() for words in _KNOWN):
            return
        # It may be what it says of a transaction that is in a block already.
        raise Lost(PEER) from error


async def _look_ahead(node: Node, account: str, call: Call) -> Prospect | Result:
    """Return what a call would take, unless it would fail."""
    nonce = await node.nonce(account, "pending")
    head = await node.ask("eth_getBlockByNumber", "latest", False)  # noqa: FBT003  # the hashes only
    base_fee = member(head, "baseFeePerGas")
    if base_fee is None:
        return told("CHAIN_UNSUITABLE", "the chain has no fees as EIP-1559 has them")
    try:
        tip = quantity(await node.ask("eth_maxPriorityFeePerGas"))
    except NodeRefuses as error:
        if error.code != METHOD_UNKNOWN:
            raise
        tip = _TIP_DEFAULT
    balance = await node.balance(account)
    if balance < call.value:
        return told("BALANCE_TOO_LOW", f"the account has {balance} wei; pay less")
    asked: JsonValue = {
        "from": account,
        "to": call.to,
        "value": hex(call.value),
        "data": f"0x{call.data.hex()}",
    }
    gas = quantity(await node.ask("eth_estimateGas", asked))
    block = quantity(member(head, "number"))
    return Prospect(nonce, block, gas, quantity(base_fee), tip, balance)


def _still_fits(draft: Draft, prospect: Prospect) -> bool:
    """Tell whether what a person may have approved can still be sent as it is."""
    return (
        draft.nonce == prospect.nonce
        and draft.fee_per_gas_max >= prospect.base_fee
        and draft.gas_limit >= prospect.gas
    )


def _draft(node: Node, account: str, call: Call, prospect: Prospect) -> Draft | Result:
    """Return an unsigned transaction within what the settings allow."""
    settings = node.settings
    most = settings.fee_per_gas_max
    if prospect.base_fee > most:
        problem = f"a unit of gas costs {prospect.base_fee} wei now, and may cost {most} here"
        return told("FEES_TOO_HIGH", f"{problem}; try later")
    if prospect.gas > settings.gas_limit_max:
        problem = f"it would use {prospect.gas} of gas, and may use {settings.gas_limit_max}"
        return told("GAS_TOO_HIGH", f"{problem}; ask for less at once")
    gas_limit = min(prospect.gas + prospect.gas // _GAS_MARGIN, settings.gas_limit_max)
    # Six blocks that are full raise the base fee to twice what it was.
    fee = min(2 * prospect.base_fee + prospect.tip, most)
    cost = call.value + gas_limit * fee
    if prospect.balance < cost:
        problem = f"the account has {prospect.balance} wei, and with its fee it may take {cost}"
        return told("BALANCE_TOO_LOW", f"{problem}; pay less")
    transaction = Transaction(
        settings.chain_id,
        call.to,
        call.value,
        call.data,
        prospect.nonce,
        gas_limit,
        fee,
        min(prospect.tip, fee),
    )
    unsigned = transaction.unsigned.hex()
    return Draft(account, prospect.nonce, prospect.block, gas_limit, fee, unsigned)
