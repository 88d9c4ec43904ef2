"""Transactions are signed as others sign them, and refused wherever they could mean two things."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chassis import rlp
from chassis.errors import InvalidField
from chassis.ethereum import keccak256
from chassis.rlp import encode_integer as number
from keymanager.secret import Kind
from keymanager.uses.keys import load_key
from keymanager.uses.operation import Fact
from keymanager.uses.transactions import SignTransaction

from .oracle import Account
from .samples import TRANSACTION, key_of, perform

Access: TypeAlias = tuple[tuple[bytes, tuple[bytes, ...]], ...]

KEY = bytes([0x46]) * 32
TO = bytes([0x35]) * 20
UINT256 = st.integers(0, 2**256 - 1)
ACCESS_LISTS = st.lists(
    st.tuples(
        st.binary(min_size=20, max_size=20),
        st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)


def legacy(*, chain: int = 1, to: bytes = TO, value: int = 5, data: bytes = b"") -> bytes:
    """Return unsigned bytes of type 0."""
    return rlp.encode(
        (b"\x09", b"\x01", b"\x52\x08", to, number(value), data, number(chain), b"", b"")
    )


def dynamic(
    *,
    chain: bytes = b"\x01",
    nonce: bytes = b"",
    priority: bytes = b"\x01",
    fee: bytes = b"\x02",
    gas: bytes = b"\x52\x08",
    to: rlp.Item = TO,
    value: rlp.Item = b"\x05",
    data: rlp.Item = b"",
    access: rlp.Item = (),
) -> bytes:
    """Return unsigned bytes of type 2."""
    return b"\x02" + rlp.encode((chain, nonce, priority, fee, gas, to, value, data, access))


def test_the_example_of_eip_155_is_signed_as_printed_there() -> None:
    unsigned = bytes.fromhex(
        "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080"
    )
    signed = perform(SignTransaction(unsigned), load_key(Kind.SECP256K1, KEY))
    assert signed.raw.hex() == (
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080"
        "25a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
        "a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    )
    assert signed.signer == "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"


def test_facts_are_what_a_transaction_says() -> None:
    other = bytes.fromhex("01020304") + bytes(64)
    assert SignTransaction(dynamic(data=other, value=b"")).facts() == {
        "type": 2,
        "chain_id": 1,
        "nonce": 0,
        "to": "0x" + "35" * 20,
        "creates_contract": False,
        "value": 0,
        "gas_limit": 21_000,
        "fee_per_gas_max": 2,
        "priority_fee_per_gas_max": 1,
        "cost_max": 42_000,
        "selector": "0x01020304",
        "data_bytes": 68,
    }


ALICE, BOB = (bytes([letter]) * 20 for letter in (0xAA, 0xBB))
ALICE_TEXT, BOB_TEXT = f"0x{ALICE.hex()}", f"0x{BOB.hex()}"


def called(signature: str, *words: bytes) -> bytes:
    """Return the call of a method, as the ABI of Solidity has it."""
    return keccak256(signature.encode())[:4] + b"".join(word.rjust(32, b"\0") for word in words)


def call_of(data: bytes, to: bytes = TO) -> dict[str, Fact]:
    """Return the facts of a transaction that are about the method it calls."""
    facts = SignTransaction(dynamic(to=to, data=data)).facts()
    return {name: fact for name, fact in facts.items() if name.startswith("call.")}


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (
            called("transfer(address,uint256)", ALICE, b"\x07"),
            {"method": "transfer", "to": ALICE_TEXT, "value": 7},
        ),
        *(
            (
                called(f"{name}(address,address,uint256{rest})", ALICE, BOB, b"\xff" * 32),
                {"method": name, "from": ALICE_TEXT, "to": BOB_TEXT, "value": 2**256 - 1},
            )
            for name, rest in (
                ("transferFrom", ""),
                ("safeTransferFrom", ""),
                ("safeTransferFrom", ",bytes"),
            )
        ),
        *(
            (
                called(f"{name}(address,uint256)", ALICE, b"\x01\x00"),
                {"method": name, "spender": ALICE_TEXT, "value": 256},
            )
            for name in ("approve", "increaseAllowance", "decreaseAllowance")
        ),
        (
            called("setApprovalForAll(address,bool)", ALICE, b"\x01"),
            {"method": "setApprovalForAll", "operator": ALICE_TEXT, "approved": True},
        ),
        # Contracts do not look at what follows.
        (
            called("transfer(address,uint256)", ALICE, b"\x07") + b"more",
            {"method": "transfer", "to": ALICE_TEXT, "value": 7},
        ),
    ],
)
def test_what_a_method_of_a_token_is_called_with_is_a_fact(
    data: bytes, facts: dict[str, Fact]
) -> None:
    assert call_of(data) == {f"call.{name}": fact for name, fact in facts.items()}


@pytest.mark.parametrize(
    "data",
    [
        called("transfer(address,uint256)", ALICE, b"\x07")[:-1],
        called("transfer(address,uint256)"),
        called("transfer(address,uint256)", b"\x01" + ALICE, b"\x07"),
        called("setApprovalForAll(address,bool)", ALICE, b"\x02"),
        called("burn(address,uint256)", ALICE, b"\x07"),
        b"\xa9",
    ],
)
def test_a_call_that_cannot_be_read_for_sure_has_no_facts(data: bytes) -> None:
    assert call_of(data) == {}


def test_the_code_of_a_new_contract_calls_no_method() -> None:
    assert call_of(called("transfer(address,uint256)", ALICE, b"\x07"), to=b"") == {}


def test_the_code_of_a_new_contract_is_no_call() -> None:
    facts = SignTransaction(dynamic(to=b"", data=b"\xa9\x05\x9c\xbb\x00")).facts()
    assert (facts["to"], facts["creates_contract"], facts["selector"]) == ("", True, "")


def _eth_access(entries: Access) -> list[dict[str, object]]:
    return [
        {"address": "0x" + address.hex(), "storageKeys": ["0x" + key.hex() for key in keys]}
        for address, keys in entries
    ]


@pytest.mark.parametrize("kind", [0, 1, 2])
@given(
    chain=st.integers(1, 2**63 - 37),
    nonce=st.integers(0, 2**64 - 2),
    gas=st.integers(0, 2**64 - 1),
    fees=st.tuples(UINT256, UINT256).map(sorted),
    to=st.just(TO) | st.just(b""),
    value=UINT256,
    data=st.binary(min_size=1, max_size=80),
    access=ACCESS_LISTS,
)
def test_eth_account_signs_the_same_bytes(
    *,
    kind: int,
    chain: int,
    nonce: int,
    gas: int,
    fees: list[int],
    to: bytes,
    value: int,
    data: bytes,
    access: Access,
) -> None:
    low, high = fees
    common = {"chainId": chain, "nonce": nonce, "gas": gas, "value": value, "data": data}
    common |= {"to": "0x" + to.hex() if to else ""}
    middle = (number(gas), to, number(value), data)
    if kind == 0:
        theirs: dict[str, object] = {**common, "gasPrice": high}
        ours = rlp.encode((number(nonce), number(high), *middle, number(chain), b"", b""))
    elif kind == 1:
        theirs = {**common, "type": 1, "gasPrice": high, "accessList": _eth_access(access)}
        ours = b"\1" + rlp.encode((number(chain), number(nonce), number(high), *middle, access))
    else:
        theirs = {**common, "type": 2, "accessList": _eth_access(access)}
        theirs |= {"maxPriorityFeePerGas": low, "maxFeePerGas": high}
        head = (number(chain), number(nonce), number(low), number(high))
        ours = b"\2" + rlp.encode((*head, *middle, access))
    signed = perform(SignTransaction(ours), load_key(Kind.SECP256K1, KEY))
    expected = Account.sign_transaction(theirs, KEY)
    assert (signed.raw, signed.hash) == (expected.raw_transaction, expected.hash)


REFUSED = {
    "empty": (b"", "transaction"),
    "a blob transaction": (b"\x03" + dynamic()[1:], "transaction"),
    "a set-code transaction": (b"\x04" + dynamic()[1:], "transaction"),
    "an explicit type 0": (b"\x00" + legacy(), "transaction"),
    "no list": (b"\x02\x05", "transaction"),
    "without a chain": (rlp.encode((b"\x09", b"\x01", b"\x52\x08", TO, b"", b"")), "transaction"),
    "trailing bytes": (dynamic() + b"\0", "transaction"),
    "cut": (dynamic()[:-1], "transaction"),
    "signed already": (
        rlp.encode((b"\x09", b"\1", b"\x52\x08", TO, b"", b"", b"\1", b"\1", b"\1")),
        "transaction",
    ),
    "chain 0": (dynamic(chain=b""), "transaction.chain_id"),
    "a chain too large": (dynamic(chain=b"\x80" + bytes(7)), "transaction.chain_id"),
    "a leading zero": (dynamic(nonce=b"\0\1"), "transaction.nonce"),
    "a zero that is a byte": (dynamic(nonce=b"\0"), "transaction.nonce"),
    "a nonce too large": (dynamic(nonce=b"\xff" * 8), "transaction.nonce"),
    "gas too large": (dynamic(gas=b"\1" + bytes(8)), "transaction.gas_limit"),
    "value too large": (dynamic(value=b"\1" + bytes(32)), "transaction.value"),
    "a value that is a list": (dynamic(value=()), "transaction.value"),
    "data that is a list": (dynamic(data=()), "transaction.data"),
    "a short address": (dynamic(to=TO[1:]), "transaction.to"),
    "an address that is a list": (dynamic(to=()), "transaction.to"),
    "no address and no code": (dynamic(to=b""), "transaction.to"),
    "fees that contradict": (
        dynamic(priority=b"\3"),
        "transaction.priority_fee_per_gas_max",
    ),
    "access that is bytes": (dynamic(access=b"\1"), "transaction.access_list"),
    "access without keys": (dynamic(access=((TO,),)), "transaction.access_list"),
    "access to a short address": (dynamic(access=((TO[1:], ()),)), "transaction.access_list"),
    "access to a short key": (dynamic(access=((TO, (b"\1",)),)), "transaction.access_list"),
    "access nested too deep": (dynamic(access=((((((),),),),),)), "transaction"),
    "too large": (dynamic(data=bytes(128 * 1024)), "transaction"),
}


@pytest.mark.parametrize(("payload", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_plain_transaction_is_refused(payload: bytes, field: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        SignTransaction(payload)
    assert refusal.value.field == field


@given(st.integers(0, len(TRANSACTION) - 1), st.integers(1, 255), st.binary(max_size=3))
def test_a_mutation_is_another_transaction_or_refused(at: int, flip: int, more: bytes) -> None:
    mutated = bytearray(TRANSACTION)
    mutated[at] ^= flip
    try:
        operation = SignTransaction(bytes(mutated) + more)
    except InvalidField as refusal:
        assert refusal.field.startswith("transaction")
    else:
        assert operation.facts() != SignTransaction(TRANSACTION).facts()
        assert perform(operation, key_of(Kind.SECP256K1)).raw


ITEMS = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6
)


def _depth(item: rlp.Item) -> int:
    return 0 if isinstance(item, bytes) else 1 + max(map(_depth, item), default=0)


@given(ITEMS)
def test_rlp_comes_back_as_it_went(item: rlp.Item) -> None:
    if _depth(item) <= rlp.DEPTH_MAX:
        assert rlp.decode("payload", rlp.encode(item)) == item
    else:
        with pytest.raises(InvalidField, match="nested"):
            rlp.decode("payload", rlp.encode(item))


@given(st.binary(max_size=100))
@example(b"\x81\x05")
@example(b"\xb8\x05hello")
@example(b"\xb9\x00\x40" + bytes(64))
@example(b"\xbf" + b"\xff" * 8)
@example(b"\xff" * 9)
@example(b"\xc0" * 2)
def test_rlp_has_one_form_for_each_value(content: bytes) -> None:
    try:
        item = rlp.decode("payload", content)
    except InvalidField as refusal:
        assert refusal.field == "payload"
    else:
        assert rlp.encode(item) == content
