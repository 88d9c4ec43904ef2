"""Asking a node of a chain by JSON-RPC (https://ethereum.github.io/execution-apis/)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from chassis.canonical import canonical_json

from ...egress import Answer, Lost, Refused, Request
from ...egress.client import Egress
from ...facts import Failure
from ...ports import RunFails, Signer, WebRequest
from .. import Order
from ..http import is_done
from ..keyed import Keyed, ask_bound, object_of
from .settings import Settings, settings_of
from .values import HASH, HEX, HEX_CHARACTERS_MAX

PEER = "evm"
# A block with the hashes of ten thousand transactions.
ANSWER_BYTES_MAX = 1024 * 1024
_HEADERS = {"content-type": "application/json"}
_ID = 1

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
# How an answer begins that is one, and too long to be read.
_ANSWER = re.compile(rb'\s*\{\s*"(?:jsonrpc|id|result)"\s*:')
# EIP-1474: too much was asked for, at once or in so short a time.
LIMIT_EXCEEDED = -32005
METHOD_UNKNOWN = -32601


@dataclass(eq=False)
class NodeRefuses(Exception):
    """What a node answers instead of a result; `data` is what a contract says that reverts."""

    code: int
    message: str
    data: bytes = b""


class Node:
    """A node, asked in the name of an order."""

    def __init__(self, egress: Egress, signer: Signer, order: Order) -> None:
        self._egress = egress
        self._signer = signer
        self._order = order
        self.settings: Settings = settings_of(order)

    async def ask(self, method: str, *parameters: JsonValue) -> JsonValue:
        """Return a result.

        Raise `NodeRefuses`, `Refused`, and `Unsent` and `Lost` as a connector.
        """
        body = canonical_json(
            {"jsonrpc": "2.0", "id": _ID, "method": method, "params": [*parameters]}
        )
        answer = await self._post(body)
        said = object_of(answer)
        error = said.get("error") if said else None
        # Some say with the status, too, that they have an error to tell.
        if not isinstance(error, dict) and not is_done(PEER, answer):
            told = f"the node answers with HTTP status {answer.status}"
            raise Refused("NODE_REFUSED", told)
        if answer.status >= 500:  # noqa: PLR2004  # as HTTP
            raise Lost(PEER)
        if isinstance(error, dict):
            raise _refusal(error)
        if answer.is_cut and _ANSWER.match(answer.body):
            raise too_long()
        if said is None or said.get("id") != _ID or "result" not in said:
            raise Lost(PEER)
        return said["result"]

    async def require_chain(self) -> None:
        """Hold that the node is one of the chain that the settings name."""
        found = quantity(await self.ask("eth_chainId"))
        if found != self.settings.chain_id:
            told = f"the node at the setting url is of the chain {found}; correct it"
            raise RunFails(Failure("CHAIN_WRONG", told))

    async def head(self) -> int:
        """Return the number of the newest block."""
        return quantity(await self.ask("eth_blockNumber"))

    async def nonce(self, account: str, block: int | str) -> int:
        """Return how many transactions an account has sent up to a block, or with `pending`."""
        at = block if isinstance(block, str) else hex(block)
        return quantity(await self.ask("eth_getTransactionCount", account, at))

    async def balance(self, account: str) -> int:
        """Return what an account has, in wei."""
        return quantity(await self.ask("eth_getBalance", account, "latest"))

    async def call(self, to: str, data: bytes) -> bytes:
        """Return what a contract answers, without a transaction."""
        asked: JsonValue = {"to": to, "data": f"0x{data.hex()}"}
        return content(await self.ask("eth_call", asked, "latest"))

    async def _post(self, body: bytes) -> Answer:
        url, key = self.settings.url, self.settings.url_key
        if not key:
            request = Request("POST", url, headers=_HEADERS, body=body)
            return await ask_bound(PEER, self._egress, request, bytes_max=ANSWER_BYTES_MAX)
        order = replace(self._order, credential=f"secrets/{key}")
        keyed = Keyed(PEER, self._egress, self._signer)
        wanted = WebRequest("key_url", "POST", url, body)
        return await keyed.ask(order, wanted, headers=_HEADERS, bytes_max=ANSWER_BYTES_MAX)


def too_long() -> Refused:
    """Return that nobody reads so much."""
    return Refused("TOO_LARGE", "the node answers with more than can be read; ask for less at once")


def quantity(value: JsonValue) -> int:
    """Return a number of an answer; what is none is no answer."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise Lost(PEER)
    return int(value, 16)


def content(value: JsonValue) -> bytes:
    """Return bytes of an answer."""
    if isinstance(value, str) and len(value) > HEX_CHARACTERS_MAX:
        raise too_long()
    if not isinstance(value, str) or not HEX.fullmatch(value):
        raise Lost(PEER)
    return bytes.fromhex(value[2:])


def hash_of(value: JsonValue) -> str:
    """Return a hash of an answer, in lower case."""
    if not isinstance(value, str) or not HASH.fullmatch(value):
        raise Lost(PEER)
    return value.lower()


def member(value: JsonValue, name: str) -> JsonValue:
    """Return a member of an object of an answer; None if it is not there."""
    if not isinstance(value, dict):
        raise Lost(PEER)
    return value.get(name)


def _refusal(error: Mapping[str, JsonValue]) -> NodeRefuses:
    code, message, data = (error.get(name) for name in ("code", "message", "data"))
    if not isinstance(code, int) or not isinstance(message, str):
        raise Lost(PEER)
    found = bytes.fromhex(data[2:]) if isinstance(data, str) and HEX.fullmatch(data) else b""
    return NodeRefuses(code, message, found)
