"""A node of a chain that answers JSON-RPC, as far as it is asked.

Methods, forms and errors: https://ethereum.github.io/execution-apis/, and the messages of geth.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.evm import GWEI, Block, Chain, PoolRefuses, Reverted, Transaction
from tests.fakes.internet import Site
from tests.fakes.x import json_answer


class RpcError(Exception):
    """What is answered instead of a result."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(message)
        self.told = {"code": code, "message": message} | ({"data": data} if data else {})


@dataclass
class FakeNode(Site):
    """A node; `path` is where it answers, which may be as secret as a key."""

    chain: Chain = field(default_factory=Chain)
    path: str = "/"
    # The methods that were asked for, in order.
    asked: list[str] = field(default_factory=list)
    # Errors by the method that gives them once, and what happens after a method.
    errors: dict[str, RpcError] = field(default_factory=dict)
    after: dict[str, Callable[[], object]] = field(default_factory=dict)
    tip: int = GWEI // 10

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            body = await reader.readexactly(int(length))
            assert "content-type: application/json" in head.lower()
            method, target, _ = head.split(" ", 2)
            if (method, target) != ("POST", self.path):
                writer.write(json_answer(401, {"message": "invalid project id"}))
                return
            writer.write(json_answer(200, self.answer(json.loads(body))))
            await writer.drain()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is answered."""
        assert (request["jsonrpc"], isinstance(request["params"], list)) == ("2.0", True)
        method = request["method"]
        self.asked.append(method)
        told: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            told["result"] = self._result(method, request["params"])
        except RpcError as error:
            told["error"] = error.told
        except PoolRefuses as error:
            told["error"] = {"code": -32000, "message": str(error)}
        except Reverted as error:
            message = f"execution reverted{f': {error}' if str(error) else ''}"
            told["error"] = {"code": 3, "message": message, "data": f"0x{error.data.hex()}"}
        self.after.pop(method, lambda: None)()
        return told

    def _result(self, method: str, parameters: list[Any]) -> object:
        if error := self.errors.pop(method, None):
            raise error
        found = self._methods().get(method)
        if found is None:
            raise RpcError(-32601, f"the method {method} does not exist/is not available")
        return found(*parameters)

    def _methods(self) -> dict[str, Callable[..., Any]]:
        chain = self.chain
        return {
            "eth_chainId": lambda: hex(chain.chain_id),
            "eth_blockNumber": lambda: hex(chain.head),
            "eth_maxPriorityFeePerGas": lambda: hex(self.tip),
            "eth_getBalance": lambda who, at: hex(self._at(at).state.balances.get(who.lower(), 0)),
            "eth_getTransactionCount": self._count,
            "eth_getBlockByNumber": self._block,
            "eth_call": lambda asked, _: f"0x{self._call(asked)[0].hex()}",
            "eth_estimateGas": lambda asked: hex(self._call(asked)[1]),
            "eth_sendRawTransaction": lambda raw: chain.take(bytes.fromhex(raw[2:])),
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getLogs": self._logs,
        }

    def _at(self, tag: str) -> Block:
        if tag in ("latest", "pending"):
            return self.chain.blocks[-1]
        number = int(tag, 16)
        if not 0 <= number <= self.chain.head:
            raise RpcError(-32000, "header not found")
        return self.chain.blocks[number]

    def _count(self, who: str, at: str) -> str:
        if at == "pending":
            return hex(self.chain.next_nonce(who.lower()))
        return hex(self._at(at).state.nonces.get(who.lower(), 0))

    def _block(self, tag: str, full: bool) -> dict[str, Any] | None:  # noqa: FBT001  # as the method has it
        assert not full, "nobody asks for that"
        if tag != "latest" and int(tag, 16) > self.chain.head:
            return None
        block = self._at(tag)
        return {
            "number": hex(block.number),
            "hash": block.hash,
            "baseFeePerGas": hex(self.chain.base_fee),
            "transactions": [one.hash for one in block.transactions],
        }

    def _call(self, asked: Mapping[str, str]) -> tuple[bytes, int]:
        sender, value = asked.get("from", f"0x{40 * '0'}"), int(asked.get("value", "0x0"), 16)
        data = bytes.fromhex(asked.get("data", "0x")[2:])
        return self.chain.call(sender, asked["to"].lower(), value, data)

    def _receipt(self, transaction: str) -> dict[str, Any] | None:
        found = self.chain.find(transaction)
        if found is None:
            return None
        block, one = found
        has_succeeded, gas = block.receipts[transaction]
        return {
            "transactionHash": transaction,
            "blockNumber": hex(block.number),
            "blockHash": block.hash,
            "status": hex(has_succeeded),
            "gasUsed": hex(gas),
            "effectiveGasPrice": hex(min(one.fee, self.chain.base_fee + one.tip)),
        }

    def _transaction(self, transaction: str) -> dict[str, Any] | None:
        pool = {one.hash: one for one in self.chain.pool.values()}
        found = self.chain.find(transaction)
        one: Transaction | None = found[1] if found else pool.get(transaction)
        return {"hash": one.hash, "nonce": hex(one.nonce), "from": one.sender} if one else None

    def _logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first >= 1_000:
            raise RpcError(-32602, "block range is too wide")
        return [
            {
                "address": log.address,
                "topics": log.topics,
                "data": log.data,
                "blockNumber": hex(block.number),
                "transactionHash": log.transaction,
                "logIndex": hex(index),
                "removed": False,
            }
            for block in self.chain.blocks[first : last + 1]
            for index, log in enumerate(block.logs)
            if log.address == wanted["address"] and _fits(log.topics, wanted["topics"])
        ]


def _fits(topics: list[str], wanted: list[str | None]) -> bool:
    if len(topics) < len(wanted):
        return False
    return all(one in (None, topic) for one, topic in zip(wanted, topics, strict=False))
