"""Keys of accounts on EVM chains, which sign as the key manager does."""

from __future__ import annotations

from datetime import UTC, datetime

from keymanager.secret import Kind
from keymanager.uses.keys import Secp256k1Key, load_key
from keymanager.uses.operation import fitting
from keymanager.uses.transactions import SignTransaction
from runtime.ports import SignedTransaction


def evm_key(number: int) -> Secp256k1Key:
    """Return one of the keys."""
    return fitting(load_key(Kind.SECP256K1, number.to_bytes(32)), Secp256k1Key)


def signed(key: Secp256k1Key, transaction: bytes) -> SignedTransaction:
    """Sign a transaction."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = SignTransaction(transaction).perform(key, now=now, random_bytes=bytes)
    return SignedTransaction(made.raw, made.hash, made.signer)
