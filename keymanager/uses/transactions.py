"""Transactions of Ethereum and its kin: read before they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, TypeAlias

from chassis import rlp
from chassis.errors import InvalidField
from chassis.ethereum import ADDRESS_BYTES, keccak256
from chassis.fields import require_size

from ..sealing import RandomBytes
from ..secret import Kind
from .calls import SELECTOR_BYTES, call_facts
from .ethereum import sign_recoverable
from .keys import LoadedKey, Secp256k1Key
from .operation import Facts, fitting

# What nodes accept into their pools.
TRANSACTION_BYTES_MAX = 128 * 1024

LEGACY = 0
ACCESS_LIST = 1  # EIP-2930
DYNAMIC_FEE = 2  # EIP-1559

_MEMBERS: Mapping[int, tuple[str, ...]] = {
    # EIP-155: the chain, and two empty members where r and s will be.
    LEGACY: ("nonce", "gas_price", "gas_limit", "to", "value", "data", "chain_id", "r", "s"),
    ACCESS_LIST: (
        *("chain_id", "nonce", "gas_price", "gas_limit", "to", "value", "data"),
        "access_list",
    ),
    DYNAMIC_FEE: (
        *("chain_id", "nonce", "priority_fee_per_gas_max", "fee_per_gas_max", "gas_limit"),
        *("to", "value", "data", "access_list"),
    ),
}
# Above it, the v of EIP-155 does not fit 64 bits (EIP-2294).
_CHAIN_ID_MAX = 2**63 - 37
_UINT64_MAX = 2**64 - 1
_UINT256_MAX = 2**256 - 1
_MOST = {
    "chain_id": _CHAIN_ID_MAX,
    "nonce": _UINT64_MAX - 1,  # EIP-2681
    "gas_limit": _UINT64_MAX,
    "gas_price": _UINT256_MAX,
    "priority_fee_per_gas_max": _UINT256_MAX,
    "fee_per_gas_max": _UINT256_MAX,
    "value": _UINT256_MAX,
}
_FIRST_OF_LIST = 0xC0
_STORAGE_KEY_BYTES = 32
_ENTRY_MEMBERS = 2
_EIP155_OFFSET = 35

_Members: TypeAlias = Mapping[str, rlp.Item]


@dataclass(frozen=True)
class Transaction:
    """What an unsigned transaction says; amounts are in wei, `to` is empty to create a contract."""

    type: int
    chain_id: int
    nonce: int
    to: bytes
    value: int
    gas_limit: int
    fee_per_gas_max: int
    # Equal to `fee_per_gas_max` where the type knows only one price.
    priority_fee_per_gas_max: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class SignedTransaction:
    """What can be sent to a node as it is, the hash by which it is found, and who signed."""

    raw: bytes = field(repr=False)
    hash: bytes
    signer: str


@dataclass(frozen=True)
class SignTransaction:
    """Sign the unsigned bytes of a transaction: legacy (EIP-155), EIP-2930 or EIP-1559."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SECP256K1})
    name: ClassVar[str] = "sign-transaction"

    transaction: bytes = field(repr=False)
    parsed: Transaction = field(init=False, repr=False)
    _items: tuple[rlp.Item, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parsed, items = _parse(self.transaction)
        object.__setattr__(self, "parsed", parsed)
        object.__setattr__(self, "_items", items)

    def facts(self) -> Facts:
        """Amounts in wei; addresses and the selector in lower case; creation has an empty `to`."""
        tx = self.parsed
        return {
            "type": tx.type,
            "chain_id": tx.chain_id,
            "nonce": tx.nonce,
            "to": "0x" + tx.to.hex() if tx.to else "",
            "creates_contract": not tx.to,
            "value": tx.value,
            "gas_limit": tx.gas_limit,
            "fee_per_gas_max": tx.fee_per_gas_max,
            "priority_fee_per_gas_max": tx.priority_fee_per_gas_max,
            "cost_max": tx.value + tx.gas_limit * tx.fee_per_gas_max,
            "selector": _selector(tx),
            "data_bytes": len(tx.data),
            **(call_facts(tx.data) if tx.to else {}),
        }

    def perform(
        self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes
    ) -> SignedTransaction:
        """Return the signed transaction."""
        signing = fitting(key, Secp256k1Key)
        pair, parity = sign_recoverable(signing.private, keccak256(self.transaction))
        r, s = (rlp.encode_integer(int.from_bytes(half)) for half in (pair[:32], pair[32:]))
        if self.parsed.type == LEGACY:
            v = rlp.encode_integer(self.parsed.chain_id * 2 + _EIP155_OFFSET + parity)
            raw = rlp.encode((*self._items[:6], v, r, s))
        else:
            signed = rlp.encode((*self._items, rlp.encode_integer(parity), r, s))
            raw = bytes([self.parsed.type]) + signed
        return SignedTransaction(raw=raw, hash=keccak256(raw), signer=signing.address)


def _parse(content: bytes) -> tuple[Transaction, tuple[rlp.Item, ...]]:
    require_size("transaction", content, size_max=TRANSACTION_BYTES_MAX)
    kind = LEGACY if content[0] >= _FIRST_OF_LIST else content[0]
    if kind not in _MEMBERS or (kind == LEGACY and content[0] < _FIRST_OF_LIST):
        raise InvalidField("transaction", "is of a type that is not signed here; use 0, 1 or 2")
    items = rlp.decode("transaction", content if kind == LEGACY else content[1:])
    names = _MEMBERS[kind]
    if isinstance(items, bytes) or len(items) != len(names):
        raise InvalidField("transaction", f"is no unsigned transaction: {', '.join(names)}")
    members = dict(zip(names, items, strict=True))
    if kind == LEGACY and (members["r"], members["s"]) != (b"", b""):
        raise InvalidField("transaction", "is signed already")
    if "access_list" in members:
        _check_access_list(members["access_list"])
    price = _integer(members, "gas_price" if kind != DYNAMIC_FEE else "fee_per_gas_max")
    transaction = Transaction(
        type=kind,
        chain_id=_integer(members, "chain_id"),
        nonce=_integer(members, "nonce"),
        to=_address(members),
        value=_integer(members, "value"),
        gas_limit=_integer(members, "gas_limit"),
        fee_per_gas_max=price,
        priority_fee_per_gas_max=(
            _integer(members, "priority_fee_per_gas_max") if kind == DYNAMIC_FEE else price
        ),
        data=_bytes(members, "data"),
    )
    _check(transaction)
    return transaction, tuple(items)


def _check(transaction: Transaction) -> None:
    if not transaction.chain_id:
        raise InvalidField("transaction.chain_id", "is 0; it would be valid on every chain")
    if transaction.priority_fee_per_gas_max > transaction.fee_per_gas_max:
        raise InvalidField("transaction.priority_fee_per_gas_max", "is above fee_per_gas_max")
    if not transaction.to and not transaction.data:
        raise InvalidField("transaction.to", "is empty, and there is no contract to create")


def _selector(transaction: Transaction) -> str:
    """Return which method is called; the code of a new contract has none."""
    if not transaction.to or len(transaction.data) < SELECTOR_BYTES:
        return ""
    return "0x" + transaction.data[:SELECTOR_BYTES].hex()


def _bytes(members: _Members, name: str) -> bytes:
    content = members[name]
    if not isinstance(content, bytes):
        raise InvalidField(f"transaction.{name}", "is a list")
    return content


def _integer(members: _Members, name: str) -> int:
    content = _bytes(members, name)
    if content[:1] == b"\0":
        raise InvalidField(f"transaction.{name}", "starts with a zero")
    value = int.from_bytes(content)
    if value > _MOST[name]:
        raise InvalidField(f"transaction.{name}", "is too large")
    return value


def _address(members: _Members) -> bytes:
    content = _bytes(members, "to")
    if len(content) not in (0, ADDRESS_BYTES):
        raise InvalidField("transaction.to", f"has {len(content)} bytes; an address has 20")
    return content


def _check_access_list(entries: rlp.Item) -> None:
    if isinstance(entries, bytes) or not all(map(_is_access, entries)):
        raise InvalidField("transaction.access_list", "is no list of addresses and storage keys")


def _is_access(entry: rlp.Item) -> bool:
    if isinstance(entry, bytes) or len(entry) != _ENTRY_MEMBERS:
        return False
    address, keys = entry
    return (
        isinstance(address, bytes)
        and len(address) == ADDRESS_BYTES
        and not isinstance(keys, bytes)
        and all(isinstance(key, bytes) and len(key) == _STORAGE_KEY_BYTES for key in keys)
    )
