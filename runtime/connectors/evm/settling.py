"""What became of a transaction, told only once no new block is likely to tell otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from ...egress import Lost
from .. import Result
from ..keyed import told
from .drafts import Draft
from .node import PEER, Node, hash_of, member, quantity


@dataclass(frozen=True)
class Mined:
    """It is in a block, as deep as the settings want it."""

    hash: str
    block: int
    gas_used: int
    gas_price: int
    has_succeeded: bool

    @property
    def fee(self) -> int:
        """Return what was paid for it, in wei, without what a rollup takes for its own chain."""
        return self.gas_used * self.gas_price

    @property
    def result(self) -> Result:
        """Return what the model is told."""
        if not self.has_succeeded:
            problem = f"the transaction {self.hash} is in block {self.block} and was reverted"
            return told(
                "REVERTED", f"{problem}; it changed nothing but its fee, {self.fee} wei, is paid"
            )
        return Result({"transaction": self.hash, "block": self.block, "fee": str(self.fee)})


@dataclass(frozen=True)
class Displaced:
    """Another one has its nonce, as deep as that: it never will be in a block."""


@dataclass(frozen=True)
class Waiting:
    """Neither so far; `is_known` tells that the node has it."""

    is_known: bool


Standing: TypeAlias = Mined | Displaced | Waiting


async def standing(node: Node, draft: Draft) -> Standing:
    """Return what became of a transaction that was signed."""
    # Asked first, so that what is in a newer block has too few upon it rather than too many.
    head = await node.head()
    settled = head - node.settings.confirmations + 1
    receipt = await node.ask("eth_getTransactionReceipt", draft.hash)
    if receipt is not None:
        found = mined(receipt)
        return found if found.block <= settled else Waiting(is_known=True)
    if settled >= draft.block and await node.nonce(draft.account, settled) > draft.nonce:
        taken = await _block_of_nonce(node, draft, settled)
        # A node that is behind has the block, and no receipt yet.
        return Waiting(is_known=True) if draft.hash in taken else Displaced()
    known = await node.ask("eth_getTransactionByHash", draft.hash)
    return Waiting(is_known=known is not None)


def mined(receipt: JsonValue) -> Mined:
    """Return what a receipt says."""
    return Mined(
        hash_of(member(receipt, "transactionHash")),
        quantity(member(receipt, "blockNumber")),
        quantity(member(receipt, "gasUsed")),
        quantity(member(receipt, "effectiveGasPrice")),
        quantity(member(receipt, "status")) == 1,
    )


async def _block_of_nonce(node: Node, draft: Draft, settled: int) -> frozenset[str]:
    """Return the transactions of the block in which the nonce was used.

    That no receipt is there proves nothing: the node, or the one of several behind its address, may
    be behind. That the block which used the nonce has not this transaction does.
    """
    # Before the draft was made, whoever used its nonce was not it; blocks from then on may have
    # been replaced by others since.
    below, found = max(draft.block - node.settings.confirmations, -1), settled
    while found - below > 1:
        middle = (found + below) // 2
        if await node.nonce(draft.account, middle) > draft.nonce:
            found = middle
        else:
            below = middle
    block = await node.ask("eth_getBlockByNumber", hex(found), False)  # noqa: FBT003  # the hashes only
    if not isinstance(block, Mapping) or quantity(block.get("number")) != found:
        raise Lost(PEER)
    hashes = block.get("transactions")
    if not isinstance(hashes, list):
        raise Lost(PEER)
    return frozenset(hash_of(one) for one in hashes)
