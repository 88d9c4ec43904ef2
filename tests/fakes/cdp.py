"""Coinbase CDP as a site: accounts, what they hold, and what was done under which key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from chassis import rlp
from tests.fakes.cdp_tokens import Doorkeeper
from tests.fakes.internet import Site
from tests.fakes.x import Asked, json_answer

ROOT = "/platform"
ME = "0x742d35Cc6634C0532925a3b844Bc454e4438f44e"
OTHER = "0x00000000000000000000000000000000000000aa"
NATIVE = "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"
USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
ROUTER = "0x0000000000000000000000000000000000000abc"
# What comes back for one unit that is given to be swapped.
RATE = 2

Said = tuple[int, dict[str, Any]]
Holder = tuple[str, str, str]


@dataclass(frozen=True)
class Transaction:
    """One that was signed and sent; `data` is hexadecimal."""

    network: str
    sender: str
    to: str
    value: int
    data: str
    gas: int


@dataclass
class FakeCdp(Site):
    """Keeps accounts by address and balances by network, address and token.

    What came with an idempotency key is answered again as it was, or refused if it is another
    request. Keep the front of `tests.fakes.front` before it, which loses answers.
    """

    door: Doorkeeper = field(default_factory=Doorkeeper)
    accounts: dict[str, str] = field(default_factory=lambda: {ME.lower(): "treasury"})
    balances: dict[Holder, int] = field(default_factory=dict)
    allowances: dict[tuple[Holder, str], int] = field(default_factory=dict)
    transactions: list[Transaction] = field(default_factory=list)
    signatures: list[tuple[str, bytes]] = field(default_factory=list)
    faucets: list[dict[str, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    # Answers to requests, by their ends, that come instead of the own ones.
    instead: dict[str, Said] = field(default_factory=dict)
    # What changes a quote before it is told.
    spoil: Callable[[dict[str, Any]], object] = bool
    _kept: dict[str, tuple[str, bytes, Said]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for network in ("base", "base-sepolia"):
            self.hold(network, ME, NATIVE, 10**18)
            self.hold(network, ME, USDC, 500_000_000)

    def hold(self, network: str, address: str, token: str, amount: int) -> None:
        """Let an address hold so much."""
        self.balances[_holder(network, address, token)] = amount

    def held(self, network: str, address: str, token: str = NATIVE) -> int:
        """Return how much an address holds."""
        return self.balances.get(_holder(network, address, token), 0)

    def allow(self, network: str, address: str, token: str, spender: str, amount: int) -> None:
        """Let a contract take so much."""
        self.allowances[_holder(network, address, token), spender.lower()] = amount

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            asked = Asked(method, target.removeprefix(ROOT), headers, body)
            self.asked.append(asked)
            self.said.append(self._answer(asked))
            writer.write(json_answer(*self.said[-1]))
            await writer.drain()

    def _answer(self, asked: Asked) -> Said:
        for end, said in self.instead.items():
            if asked.path.endswith(end):
                return said
        is_wallet = asked.path == "/v2/evm/accounts" or bool(
            re.search(r"/(sign|send)/", asked.path)
        )
        where = f"{asked.headers['host']}{ROOT}{asked.path}"
        problem = self.door.problem(
            asked.method,
            where,
            asked.headers,
            asked.body,
            is_wallet=is_wallet and asked.method == "POST",
        )
        if problem:
            return refusal(401, "unauthorized", problem)
        return self._once(asked)

    def _once(self, asked: Asked) -> Said:
        key = asked.headers.get("x-idempotency-key")
        if key is None:
            return self._act(asked)
        if uuid.UUID(key).version != 4:
            return refusal(400, "invalid_request", "The idempotency key is no UUID 4.")
        if key not in self._kept:
            self._kept[key] = (asked.path, asked.body, self._act(asked))
        path, body, said = self._kept[key]
        if (path, body) != (asked.path, asked.body):
            told = f"Idempotency key '{key}' was already used with a different request payload."
            return refusal(422, "idempotency_error", told)
        return said

    def _act(self, asked: Asked) -> Said:
        address = "(0x[0-9a-fA-F]{40})"
        routes: dict[str, Callable[..., Said]] = {
            r"POST /v2/evm/accounts": self._create,
            r"GET /v2/evm/accounts": self._list,
            rf"GET /v2/evm/accounts/{address}": self._get,
            r"GET /v2/evm/accounts/by-name/([A-Za-z0-9-]+)": self._get_named,
            rf"POST /v2/evm/accounts/{address}/send/transaction": self._send,
            rf"POST /v2/evm/accounts/{address}/sign/(message|typed-data|transaction)": self._sign,
            rf"GET /v2/evm/token-balances/([a-z-]+)/{address}": self._balances,
            r"GET /v2/evm/swaps/quote": self._price,
            r"POST /v2/evm/swaps": self._quote,
            r"POST /v2/evm/faucet": self._faucet,
        }
        for pattern, act in routes.items():
            if match := re.fullmatch(pattern, f"{asked.method} {asked.path}"):
                return act(asked, *match.groups())
        return refusal(404, "not_found", "There is no such path.")

    # --- Accounts --------------------------------------------------------------------------------

    def _create(self, asked: Asked) -> Said:
        name = json.loads(asked.body)["name"]
        if name in self.accounts.values():
            told = "EVM account with the given name already exists."
            return refusal(409, "already_exists", told)
        address = f"0x{hashlib.sha256(name.encode()).hexdigest()[:40]}"
        self.accounts[address] = name
        return 201, {"address": address, "name": name}

    def _list(self, asked: Asked) -> Said:
        found = [{"address": address, "name": name} for address, name in self.accounts.items()]
        return 200, _page("accounts", found, asked)

    def _get(self, _: Asked, address: str) -> Said:
        name = self.accounts.get(address.lower())
        if name is None:
            return refusal(404, "not_found", "EVM account with the given address not found.")
        return 200, {"address": address, "name": name}

    def _get_named(self, asked: Asked, name: str) -> Said:
        addresses = [address for address, one in self.accounts.items() if one == name]
        return self._get(asked, addresses[0] if addresses else "")

    def _balances(self, asked: Asked, network: str, address: str) -> Said:
        tokens = {NATIVE.lower(): (NATIVE, "ETH", 18), USDC.lower(): (USDC, "USDC", 6)}
        found = []
        for (where, who, token), amount in self.balances.items():
            if (where, who) == (network, address.lower()):
                contract, symbol, decimals = tokens[token]
                about = {"network": network, "symbol": symbol, "contractAddress": contract}
                told = {"amount": str(amount), "decimals": decimals}
                found.append({"token": about, "amount": told})
        return 200, _page("balances", found, asked)

    def _faucet(self, asked: Asked) -> Said:
        self.faucets.append(json.loads(asked.body))
        return 200, {"transactionHash": _digest(asked.body)}

    # --- Signatures and transactions -------------------------------------------------------------

    def _sign(self, asked: Asked, address: str, kind: str) -> Said:
        if address.lower() not in self.accounts:
            return refusal(404, "not_found", "EVM account with the given address not found.")
        self.signatures.append((kind, asked.body))
        body = json.loads(asked.body)
        if kind == "transaction":
            return 200, {"signedTransaction": f"{body['transaction']}{'00' * 65}"}
        return 200, {"signature": signature_of(body)}

    def _send(self, asked: Asked, address: str) -> Said:
        if address.lower() not in self.accounts:
            return refusal(404, "not_found", "EVM account with the given address not found.")
        body = json.loads(asked.body)
        sent = _read(body["network"], address, body["transaction"])
        if self.held(sent.network, address) < sent.value:
            told = "The account holds less than that."
            return refusal(400, "insufficient_balance", told)
        self._move(sent.network, address, sent.to, NATIVE, sent.value)
        data = bytes.fromhex(sent.data)
        who, amount = f"0x{data[16:36].hex()}", int.from_bytes(data[36:68])
        if data[:4].hex() == "a9059cbb":
            self._move(sent.network, address, who, sent.to, amount)
        elif data[:4].hex() == "095ea7b3":
            self.allow(sent.network, address, sent.to, who, amount)
        self.transactions.append(sent)
        return 200, {"transactionHash": _digest(asked.body)}

    def _move(self, network: str, sender: str, to: str, token: str, amount: int) -> None:
        for address, change in ((sender, -amount), (to, amount)):
            self.hold(network, address, token, self.held(network, address, token) + change)

    # --- Swaps -----------------------------------------------------------------------------------

    def _price(self, asked: Asked) -> Said:
        return 200, self._offer(asked.query, int(asked.query["slippageBps"]))

    def _quote(self, asked: Asked) -> Said:
        wanted = json.loads(asked.body)
        offer = self._offer(wanted, wanted["slippageBps"])
        given, amount = wanted["fromToken"], wanted["fromAmount"]
        is_native = given.lower() == NATIVE.lower()
        offer["permit2"] = None if is_native else _permit(given, amount)
        offer["transaction"] = {
            "to": ROUTER,
            "data": "0x1234",
            "gas": "100000",
            "gasPrice": "1000000000",
            "value": amount if is_native else "0",
        }
        self.spoil(offer)
        return 201, offer

    def _offer(self, wanted: dict[str, Any], slippage: int) -> dict[str, Any]:
        amount = int(wanted["fromAmount"])
        given, network, taker = wanted["fromToken"], wanted["network"], wanted["taker"]
        held = self.held(network, taker, given)
        allowed = self.allowances.get((_holder(network, taker, given), PERMIT2.lower()), 0)
        lacks_allowance = given.lower() != NATIVE.lower() and allowed < amount
        balance = {
            "token": given,
            "currentBalance": str(held),
            "requiredBalance": str(amount),
        }
        return {
            "blockNumber": "17038723",
            "toAmount": str(amount * RATE),
            "toToken": wanted["toToken"],
            "fees": {"gasFee": None, "protocolFee": None},
            "issues": {
                "allowance": {"currentAllowance": str(allowed), "spender": PERMIT2}
                if lacks_allowance
                else None,
                "balance": balance if held < amount else None,
                "simulationIncomplete": False,
            },
            "liquidityAvailable": True,
            "minToAmount": str(amount * RATE * (10_000 - slippage) // 10_000),
            "fromAmount": wanted["fromAmount"],
            "fromToken": given,
            "gas": "100000",
            "gasPrice": "1000000000",
        }


def refusal(status: int, kind: str, message: str) -> Said:
    """Return what CDP says where it does not do something."""
    return status, {"errorType": kind, "errorMessage": message, "correlationId": "41deb8d5-IAD"}


def signature_of(content: object) -> str:
    """Return what stands for the signature of something: 65 bytes that only it has."""
    digest = hashlib.sha512(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"0x{digest}1b"


def _read(network: str, sender: str, text: str) -> Transaction:
    content = bytes.fromhex(text[2:])
    assert content[:1] == b"\x02", "only fees of EIP-1559 are taken"
    fields = rlp.decode("transaction", content[1:])
    chain, nonce, tip, fee, gas, to, value, data, places = fields
    assert (nonce, tip, fee, places) == (b"", b"", b"", ()), "CDP finds these out"
    assert isinstance(gas, bytes)
    assert isinstance(to, bytes)
    assert isinstance(value, bytes)
    assert isinstance(data, bytes)
    assert isinstance(chain, bytes)
    number = int.from_bytes
    return Transaction(network, sender, f"0x{to.hex()}", number(value), data.hex(), number(gas))


def _permit(token: str, amount: str) -> dict[str, Any]:
    message = {
        "permitted": {"token": token, "amount": amount},
        "spender": ROUTER,
        "nonce": "123456",
        "deadline": "1717123200",
    }
    content = {
        "domain": {"name": "Permit2", "chainId": 8453, "verifyingContract": PERMIT2},
        "types": {"PermitTransferFrom": [{"name": "spender", "type": "address"}]},
        "primaryType": "PermitTransferFrom",
        "message": message,
    }
    return {"hash": _digest(json.dumps(content).encode()), "eip712": content}


def _page(name: str, items: list[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    size, start = int(asked.query["pageSize"]), int(asked.query.get("pageToken", "0"))
    more = {"nextPageToken": str(start + size)} if len(items) > start + size else {}
    return {name: items[start : start + size], **more}


def _holder(network: str, address: str, token: str) -> Holder:
    return network, address.lower(), token.lower()


def _digest(content: bytes) -> str:
    return f"0x{hashlib.sha256(content).hexdigest()}"
