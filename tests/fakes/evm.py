"""A chain of the EVM: blocks, a pool, accounts, and contracts that are written in Python.

It executes no bytecode. What it decides about is what a sender has to cope with: who has signed
(by eth-account, which is not ours), nonces, fees, balances, replacements, what is dropped, and
blocks that are replaced by others.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from eth_abi import abi as eth_abi
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from tests.keymanager.uses.oracle import Account, TypedTransaction

CHAIN_ID = 8453
GWEI = 10**9
ETHER = 10**18
GAS = 21_000
TOKEN_GAS = 30_000
BLOCK_GAS = 30_000_000
# EIP-2718 and what pools want of a replacement.
TYPE = 2
BUMP_PERCENT = 10
TRANSFER = "Transfer(address,address,uint256)"


class Reverted(Exception):
    """A contract does not do it; `data` is what it says."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        said = eth_abi.encode(["string"], [reason])
        self.data = bytes.fromhex("08c379a0") + said if reason else b""


class PoolRefuses(Exception):
    """Why a pool does not take a transaction."""


@dataclass(frozen=True)
class Transaction:
    """One that somebody has signed."""

    sender: str
    nonce: int
    to: str
    value: int
    data: bytes
    gas_limit: int
    fee: int
    tip: int
    raw: bytes

    @property
    def hash(self) -> str:
        """Return what it is known by."""
        return f"0x{keccak(self.raw).hex()}"


@dataclass
class Log:
    """What a contract has logged."""

    address: str
    topics: list[str]
    data: str
    transaction: str = ""


@dataclass
class State:
    """What accounts and contracts have after a block."""

    balances: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    storage: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass
class Block:
    """A block; `state` is the one after it."""

    number: int
    hash: str
    transactions: list[Transaction]
    # By the hash of its transaction, whether it succeeded, and how much gas it took.
    receipts: dict[str, tuple[bool, int]]
    logs: list[Log]
    state: State


# What a contract does with what is called, by whom, with how much.
Contract = Callable[[State, str, str, int, bytes], tuple[bytes, list[Log]]]


def token(state: State, here: str, sender: str, value: int, data: bytes) -> tuple[bytes, list[Log]]:
    """Do what a token does (ERC-20)."""
    selector, rest = data[:4], data[4:]
    held = state.storage.setdefault(here, {})
    if selector == keccak(b"balanceOf(address)")[:4]:
        [owner] = eth_abi.decode(["address"], rest)
        return eth_abi.encode(["uint256"], [held.get(owner.lower(), 0)]), []
    if selector == keccak(b"decimals()")[:4]:
        return eth_abi.encode(["uint8"], [6]), []
    if selector == keccak(b"name()")[:4]:
        return eth_abi.encode(["string"], ["USD Coin"]), []
    if selector != keccak(b"transfer(address,uint256)")[:4] or value:
        raise Reverted
    to, amount = eth_abi.decode(["address", "uint256"], rest)
    if held.get(sender, 0) < amount:
        raise Reverted("ERC20: transfer amount exceeds balance")
    held[sender] -= amount
    held[to.lower()] = held.get(to.lower(), 0) + amount
    topics = [f"0x{keccak(TRANSFER.encode()).hex()}", _padded(sender), _padded(to)]
    return eth_abi.encode(["bool"], [True]), [Log(here, topics, f"0x{amount:064x}")]


class Chain:
    """The chain as one node has it. With `is_instant`, each transaction is mined when it comes."""

    def __init__(self, *, is_instant: bool = True, chain_id: int = CHAIN_ID) -> None:
        self.chain_id = chain_id
        self.is_instant = is_instant
        self.base_fee = GWEI
        self.contracts: dict[str, Contract] = {}
        self.pool: dict[tuple[str, int], Transaction] = {}
        self.blocks = [Block(0, _block_hash(0, 0), [], {}, [], State())]
        # All that was ever signed and came here, in order.
        self.seen: list[Transaction] = []
        self._branch = 0

    # --- What a test does ------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Return what is after the newest block."""
        return self.blocks[-1].state

    @property
    def head(self) -> int:
        """Return the number of the newest block."""
        return self.blocks[-1].number

    def mined(self) -> list[Transaction]:
        """Return all transactions in blocks."""
        return [one for block in self.blocks for one in block.transactions]

    def mine(self, count: int = 1) -> None:
        """Make blocks; the first has what the pool has that can be executed."""
        for _ in range(count):
            state, block = deepcopy(self.state), self.head + 1
            made = Block(block, _block_hash(block, self._branch), [], {}, [], state)
            for transaction in sorted(self.pool.values(), key=lambda one: one.nonce):
                if state.nonces.get(transaction.sender, 0) != transaction.nonce:
                    continue
                if transaction.fee < self.base_fee:
                    continue
                self._execute(made, transaction)
            for one in made.transactions:
                del self.pool[one.sender, one.nonce]
            self.blocks.append(made)

    def reorganise(self, depth: int, *, drops: bool = False) -> None:
        """Replace blocks by as many empty ones; what was in them is in the pool, unless dropped."""
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        self._branch += 1
        kept, self.pool = self.pool, {}
        self.mine(depth)
        self.pool = kept
        for one in (one for block in gone for one in block.transactions):
            if not drops:
                self.pool.setdefault((one.sender, one.nonce), one)

    def drop(self) -> None:
        """Let the pool forget everything."""
        self.pool.clear()

    # --- What a node does ------------------------------------------------------------------------

    def take(self, raw: bytes) -> str:
        """Take a signed transaction into the pool, as geth does; return its hash."""
        found = self._read(raw)
        if found.hash in {one.hash for one in self.pool.values()}:
            raise PoolRefuses("already known")
        place, nonce = (found.sender, found.nonce), self.state.nonces.get(found.sender, 0)
        if found.nonce < nonce:
            raise PoolRefuses(f"nonce too low: next nonce {nonce}, tx nonce {found.nonce}")
        if self.state.balances.get(found.sender, 0) < found.value + found.gas_limit * found.fee:
            raise PoolRefuses("insufficient funds for gas * price + value")
        before = self.pool.get(place)
        if before and found.fee * 100 < before.fee * (100 + BUMP_PERCENT):
            raise PoolRefuses("replacement transaction underpriced")
        self.pool[place] = found
        self.seen.append(found)
        if self.is_instant:
            self.mine(2)
        return found.hash

    def next_nonce(self, account: str) -> int:
        """Return the nonce after all that is in blocks and, without a gap, in the pool."""
        nonce = self.state.nonces.get(account, 0)
        while (account, nonce) in self.pool:
            nonce += 1
        return nonce

    def call(self, sender: str, to: str, value: int, data: bytes) -> tuple[bytes, int]:
        """Try what is called on what is now; return the answer and its gas."""
        state = deepcopy(self.state)
        if state.balances.get(sender, 0) < value:
            raise PoolRefuses("insufficient funds for transfer")
        answer, _ = self._act(state, sender, to, value, data)
        return answer, _gas(to in self.contracts, data)

    def find(self, transaction: str) -> tuple[Block, Transaction] | None:
        """Return a transaction with its block."""
        pairs = ((block, one) for block in self.blocks for one in block.transactions)
        return next((pair for pair in pairs if pair[1].hash == transaction), None)

    def _read(self, raw: bytes) -> Transaction:
        if raw[:1] != bytes([TYPE]):
            raise PoolRefuses("transaction type not supported")
        content: dict[str, Any] = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        if content["chainId"] != self.chain_id:
            raise PoolRefuses(f"invalid chain id for signer: have {content['chainId']}")
        if content["gas"] < _gas(is_contract=False, data=content["data"]):
            raise PoolRefuses("intrinsic gas too low")
        return Transaction(
            Account.recover_transaction(raw).lower(),
            content["nonce"],
            f"0x{bytes(content['to']).hex()}",
            content["value"],
            bytes(content["data"]),
            content["gas"],
            content["maxFeePerGas"],
            content["maxPriorityFeePerGas"],
            raw,
        )

    def _execute(self, block: Block, one: Transaction) -> None:
        state, gas = block.state, _gas(one.to in self.contracts, one.data)
        price = min(one.fee, self.base_fee + one.tip)
        state.nonces[one.sender] = one.nonce + 1
        state.balances[one.sender] -= gas * price
        before = deepcopy(state)
        try:
            logs = self._spend(state, one, gas)
        except Reverted:
            block.state = before
            block.receipts[one.hash] = (False, gas)
        else:
            block.receipts[one.hash] = (True, gas)
            for log in logs:
                log.transaction = one.hash
            block.logs += logs
        block.transactions.append(one)

    def _spend(self, state: State, one: Transaction, gas: int) -> list[Log]:
        if gas > one.gas_limit:
            raise Reverted
        return self._act(state, one.sender, one.to, one.value, one.data)[1]

    def _act(
        self, state: State, sender: str, to: str, value: int, data: bytes
    ) -> tuple[bytes, list[Log]]:
        if state.balances.get(sender, 0) < value:
            raise Reverted
        state.balances[sender] = state.balances.get(sender, 0) - value
        state.balances[to] = state.balances.get(to, 0) + value
        contract = self.contracts.get(to)
        return contract(state, to, sender, value, data) if contract else (b"", [])


def _gas(is_contract: bool, data: bytes) -> int:  # noqa: FBT001  # a fact about what is called
    return GAS + 16 * len(data) + (TOKEN_GAS if is_contract else 0)


def _padded(address: str) -> str:
    return f"0x{address[2:].lower():0>64}"


def _block_hash(number: int, branch: int) -> str:
    return f"0x{keccak(f'{number}/{branch}'.encode()).hex()}"
