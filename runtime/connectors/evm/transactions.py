"""Transactions of the EVM that nobody has signed yet."""

from __future__ import annotations

from dataclasses import dataclass

from chassis import rlp

# EIP-2718: the type of a transaction with the fees of EIP-1559.
_TYPE = b"\x02"
# `transfer(address,uint256)`, `approve(address,uint256)` and `balanceOf(address)` of ERC-20.
_TRANSFER, _APPROVE = bytes.fromhex("a9059cbb"), bytes.fromhex("095ea7b3")
_BALANCE_OF = bytes.fromhex("70a08231")
WORD_BYTES = 32


@dataclass(frozen=True)
class Transaction:
    """What is called and paid, in wei; of what is zero, Coinbase finds out what it has to be."""

    chain: int
    to: str
    value: int = 0
    data: bytes = b""
    nonce: int = 0
    gas_limit: int = 0
    fee_per_gas_max: int = 0
    priority_fee_per_gas_max: int = 0

    @property
    def unsigned(self) -> bytes:
        """Return it as it is signed (EIP-1559)."""
        numbers = (self.chain, self.nonce, self.priority_fee_per_gas_max, self.fee_per_gas_max)
        fields: tuple[rlp.Item, ...] = (
            *(rlp.encode_integer(number) for number in (*numbers, self.gas_limit)),
            bytes.fromhex(self.to[2:]),
            rlp.encode_integer(self.value),
            self.data,
            # Places of the state that are paid for in advance: none.
            (),
        )
        return _TYPE + rlp.encode(fields)


def transfer_of_token(to: str, amount: int) -> bytes:
    """Return the call that moves an amount of a token, in its smallest units."""
    return _TRANSFER + _address(to) + word(amount)


def approval_of_token(spender: str, amount: int) -> bytes:
    """Return the call that lets somebody take up to an amount of a token."""
    return _APPROVE + _address(spender) + word(amount)


def balance_of_token(owner: str) -> bytes:
    """Return the call that tells how much of a token somebody has."""
    return _BALANCE_OF + _address(owner)


def word(number: int) -> bytes:
    """Return a number as one word of the EVM."""
    return number.to_bytes(WORD_BYTES)


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:]).rjust(WORD_BYTES, b"\0")
