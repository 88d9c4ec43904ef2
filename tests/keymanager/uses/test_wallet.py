"""Typed data and personal messages are signed as wallets do, and only if they mean one thing."""

from __future__ import annotations

import copy
import json
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from chassis.ethereum import keccak256
from keymanager.secret import Kind
from keymanager.uses.keys import load_key
from keymanager.uses.wallet import SignPersonalMessage, SignTypedData

from .oracle import Account, encode_defunct, encode_typed_data
from .samples import perform

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"

COW = keccak256(b"cow")
MAIL: dict[str, Tree] = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
        ],
        "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
        "Mail": [
            {"name": "from", "type": "Person"},
            {"name": "to", "type": "Person"},
            {"name": "contents", "type": "string"},
        ],
    },
    "primaryType": "Mail",
    "domain": {
        "name": "Ether Mail",
        "version": "1",
        "chainId": 1,
        "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
    },
    "message": {
        "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
        "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
        "contents": "Hello, Bob!",
    },
}


def changed(path: str, value: Tree) -> bytes:
    """Return the mail as JSON with one place replaced, `a/b/0/c`."""
    data: Tree = copy.deepcopy(MAIL)
    *parents, last = path.split("/")
    here = data
    for name in parents:
        here = here[int(name)] if isinstance(here, list) else here[name]  # type: ignore[index]  # a path of the test
    here[int(last) if isinstance(here, list) else last] = value  # type: ignore[index]  # the same
    return json.dumps(data).encode()


def typed(kind: str, value: Tree) -> bytes:
    """Return typed data with one member of a type."""
    return json.dumps(
        {
            "types": {"Note": [{"name": "it", "type": kind}], "Leaf": []},
            "primaryType": "Note",
            "domain": {"name": "Notes"},
            "message": {"it": value},
        }
    ).encode()


def test_the_mail_of_eip_712_has_the_digest_printed_there() -> None:
    operation = SignTypedData(json.dumps(MAIL).encode())
    assert operation.parsed.digest.hex() == (
        "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
    )
    signature = perform(operation, load_key(Kind.SECP256K1, COW))
    assert signature[32:64].hex() == (
        "07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b91562"
    )
    assert signature[64] == 28
    assert operation.facts() == {
        "primary_type": "Mail",
        "chain_id": 1,
        "verifying_contract": "0x" + "cc" * 20,
        "domain_name": "Ether Mail",
        "message.from.name": "Cow",
        "message.from.wallet": "0xcd2a3d9f938e13cd947ec05abc7fe734df8dd826",
        "message.to.name": "Bob",
        "message.to.wallet": "0x" + "bb" * 20,
        "message.contents": "Hello, Bob!",
    }


@pytest.mark.parametrize(
    ("kind", "value", "fact"),
    [
        ("uint256", str(2**256 - 1), 2**256 - 1),
        ("uint8", "0x10", 16),
        ("int16", -5, -5),
        ("bool", True, True),
        ("address", "0x" + "AB" * 20, "0x" + "ab" * 20),
        ("bytes4", "0xABCDEF01", "0xabcdef01"),
        ("bytes", "0xAB", "0xab"),
        ("string", "x" * 256, "x" * 256),
    ],
)
def test_a_value_of_a_message_is_one_fact_however_it_is_written(
    kind: str, value: Tree, fact: str | int
) -> None:
    found = SignTypedData(typed(kind, value)).facts()["message.it"]
    assert (type(found), found) == (type(fact), fact)


@pytest.mark.parametrize(
    ("kind", "value"), [("string", "x" * 257), ("bytes", "0x" + 128 * "ab"), ("uint8[]", [1])]
)
def test_a_long_text_and_an_array_are_no_facts(kind: str, value: Tree) -> None:
    facts = SignTypedData(typed(kind, value)).facts()
    assert facts.keys() == {"primary_type", "domain_name"}


def test_a_long_name_of_a_domain_is_no_fact() -> None:
    assert "domain_name" not in SignTypedData(changed("domain/name", "x" * 257)).facts()


def test_so_many_values_of_a_message_are_facts() -> None:
    names = [f"m{number}" for number in range(40)]
    content = {
        "types": {"Note": [{"name": name, "type": "bool"} for name in names]},
        "primaryType": "Note",
        "domain": {"chainId": 1},
        "message": dict.fromkeys(names, True),
    }
    facts = SignTypedData(json.dumps(content).encode()).facts()
    assert [*facts][2:] == [f"message.{name}" for name in names[:32]]


def test_a_name_that_policies_cannot_write_is_no_fact() -> None:
    content = {
        "types": {"Note": [{"name": "a$b", "type": "bool"}, {"name": "c" * 57, "type": "bool"}]},
        "primaryType": "Note",
        "domain": {"chainId": 1},
        "message": {"a$b": True, "c" * 57: True},
    }
    facts = SignTypedData(json.dumps(content).encode()).facts()
    assert facts.keys() == {"primary_type", "chain_id"}


ATOMS: dict[str, st.SearchStrategy[Tree]] = {
    "string": st.text(max_size=20),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=40).map(lambda content: "0x" + content.hex()),
    "bytes4": st.binary(min_size=4, max_size=4).map(lambda content: "0x" + content.hex()),
    "address": st.binary(min_size=20, max_size=20).map(lambda content: "0x" + content.hex()),
    "uint8": st.integers(0, 255),
    "uint256": st.integers(0, 2**256 - 1),
    "int256": st.integers(-(2**255), 2**255 - 1),
}


@st.composite
def _typed_data(draw: st.DrawFn) -> dict[str, Tree]:
    members: list[Tree] = []
    inner: dict[str, Tree] = {}
    for index, kind in enumerate(draw(st.lists(st.sampled_from(sorted(ATOMS)), max_size=5))):
        suffix, values = draw(st.sampled_from(["", "[]", "[2]", "[][1]"])), ATOMS[kind]
        if suffix == "[]":
            values = st.lists(values, max_size=3)
        elif suffix == "[2]":
            values = st.lists(values, min_size=2, max_size=2)
        elif suffix:
            values = st.lists(st.lists(values, max_size=2), min_size=1, max_size=1)
        members.append({"name": f"m{index}", "type": kind + suffix})
        inner[f"m{index}"] = draw(values)
    end: dict[str, Tree] = {"deep": [{"it": draw(st.booleans())}]}
    domain: dict[str, Tree] = {"name": draw(st.text(max_size=8)), "chainId": draw(ATOMS["uint256"])}
    return {
        "types": {
            # Described after its own members, in the order of the alphabet.
            "Outer": [
                {"name": "one", "type": "Inner"},
                {"name": "all", "type": "Inner[]"},
                {"name": "end", "type": "Zero"},
            ],
            "Zero": [{"name": "deep", "type": "Bottom[]"}],
            "Bottom": [{"name": "it", "type": "bool"}],
            "Inner": members,
        },
        "primaryType": "Outer",
        "domain": domain,
        "message": {"one": inner, "all": [inner] * draw(st.integers(0, 2)), "end": end},
    }


@given(_typed_data())
def test_eth_account_signs_typed_data_alike(data: dict[str, Tree]) -> None:
    ours = perform(SignTypedData(json.dumps(data).encode()), load_key(Kind.SECP256K1, COW))
    theirs = Account.sign_message(encode_typed_data(full_message=data), COW)
    assert ours == theirs.signature


def test_a_type_may_have_a_colon() -> None:
    data: dict[str, Tree] = {
        "types": {"HyperliquidTransaction:UsdSend": [{"name": "amount", "type": "string"}]},
        "primaryType": "HyperliquidTransaction:UsdSend",
        "domain": {"name": "HyperliquidSignTransaction", "version": "1", "chainId": 42161},
        "message": {"amount": "1"},
    }
    ours = perform(SignTypedData(json.dumps(data).encode()), load_key(Kind.SECP256K1, COW))
    theirs = Account.sign_message(encode_typed_data(full_message=data), COW)
    assert ours == theirs.signature


@pytest.mark.parametrize(
    ("kind", "forms"),
    [
        ("uint256", [255, "255", "0xff", "0xFF"]),
        ("int8", [-1, "-1"]),
        ("address", ["0x" + "ab" * 20, "0x" + "AB" * 20]),
    ],
)
def test_forms_of_one_value_have_one_digest(kind: str, forms: list[Tree]) -> None:
    assert len({SignTypedData(typed(kind, form)).parsed.digest for form in forms}) == 1


@given(st.binary(min_size=1, max_size=300))
def test_eth_account_signs_personal_messages_alike(message: bytes) -> None:
    ours = perform(SignPersonalMessage(message), load_key(Kind.SECP256K1, COW))
    assert ours == Account.sign_message(encode_defunct(primitive=message), COW).signature


REFUSED = {
    "no JSON": (b"{", "typed_data"),
    "not UTF-8": (b'"\xff"', "typed_data"),
    "a list": (b"[]", "typed_data"),
    "a member more": (changed("extra", 1), "typed_data"),
    "a member twice": (json.dumps(MAIL).encode().replace(b'"to":', b'"from":'), "typed_data"),
    "not a number": (typed("uint8", 0).replace(b": 0}", b": NaN}"), "typed_data"),
    "nested deep": (typed("uint8", 0).replace(b": 0}", b": " + b"[" * 99 + b"]" * 99 + b"}"), ""),
    "too large": (typed("string", "a" * 65_536), "typed_data"),
    "types that are a list": (changed("types", []), ".types"),
    "a type called like a number": (changed("types/uint8", []), ".types"),
    "a type with a strange name": (changed("types/a b", []), ".types"),
    "too many types": (changed("types", {f"T{n}": [] for n in range(65)}), ".types"),
    "members that are no list": (changed("types/Mail", {}), ".types.Mail"),
    "a member without a type": (changed("types/Mail/0", {"name": "from"}), ".types.Mail[0]"),
    "a member with a number": (changed("types/Mail/0/type", 1), ".types.Mail[0].type"),
    "a member with a strange name": (changed("types/Mail/0/name", "a,b"), ".types.Mail[0].name"),
    "a member of an unknown type": (changed("types/Mail/0/type", "Cow"), ".types.Mail[0].type"),
    "a member of type uint": (changed("types/Mail/2/type", "uint"), ".types.Mail[2].type"),
    "a member of type uint7": (changed("types/Mail/2/type", "uint7"), ".types.Mail[2].type"),
    "a member of type uint264": (changed("types/Mail/2/type", "uint264"), ".types.Mail[2].type"),
    "a member of type bytes33": (changed("types/Mail/2/type", "bytes33"), ".types.Mail[2].type"),
    "a member of type bytes0": (changed("types/Mail/2/type", "bytes0"), ".types.Mail[2].type"),
    "a member of the domain": (
        changed("types/Mail/2/type", "EIP712Domain"),
        ".types.Mail[2].type",
    ),
    "a type of brackets": (
        changed("types/Mail/2/type", "Mail" + "[]" * 999),
        ".types.Mail[2].type",
    ),
    "two members of one name": (changed("types/Mail/1/name", "from"), ".types.Mail"),
    "a domain of another type": (changed("types/EIP712Domain", []), ".types.EIP712Domain"),
    "a domain with a member more": (changed("domain/extra", 1), ".domain"),
    "a domain without members": (changed("domain", {}), ".domain"),
    "a domain that is a list": (changed("domain", []), ".domain"),
    "a negative chain": (changed("domain/chainId", -1), ".domain.chainId"),
    "an unknown primary type": (changed("primaryType", "Cow"), ".primaryType"),
    "the domain as the message": (changed("primaryType", "EIP712Domain"), ".primaryType"),
    "a primary type that is a list": (changed("primaryType", []), ".primaryType"),
    "a message with a member less": (changed("message", {"contents": ""}), ".message"),
    "a struct that is null": (changed("message/to", None), ".message.to"),
    "a member more in a struct": (changed("message/to/extra", 1), ".message.to"),
    "a wrong checksum": (
        changed("message/to/wallet", "0xBbBBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"),
        ".message.to.wallet",
    ),
    "half of a pair": (changed("message/contents", "\ud800"), ".message.contents"),
    "a text that is a number": (changed("message/contents", 1), ".message.contents"),
    "a bool that is a number": (typed("bool", 1), ".message.it"),
    "a number that is a bool": (typed("uint8", True), ".message.it"),  # noqa: FBT003  # JSON
    "a number with a fraction": (typed("uint8", 1.0), ".message.it"),
    "a number in octal": (typed("uint8", "010"), ".message.it"),
    "a number with a sign": (typed("uint8", "+1"), ".message.it"),
    "a number of other digits": (typed("uint8", "\u0661"), ".message.it"),
    "a number too large": (typed("uint8", 256), ".message.it"),
    "a number too small": (typed("int8", -129), ".message.it"),
    "bytes too few": (typed("bytes4", "0x010203"), ".message.it"),
    "bytes that are half": (typed("bytes", "0x1"), ".message.it"),
    "too many values": (typed("uint8[]", [0] * 4_096), ".message"),
    "an array too short": (typed("uint8[2]", [1]), ".message.it"),
    "an array that is a text": (typed("uint8[]", "ab"), ".message.it"),
    "an element that is wrong": (typed("uint8[]", [1, "x"]), ".message.it[1]"),
}


@pytest.mark.parametrize(("content", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_its_types_is_refused(content: bytes, field: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        SignTypedData(content)
    assert refusal.value.field == "typed_data" + field.removeprefix("typed_data")


@given(st.integers(0, len(json.dumps(MAIL)) - 1), st.integers(0, 255))
def test_a_mutation_is_signed_or_refused(at: int, byte: int) -> None:
    mutated = bytearray(json.dumps(MAIL).encode())
    mutated[at] = byte
    try:
        operation = SignTypedData(bytes(mutated))
    except InvalidField as refusal:
        assert refusal.field.startswith("typed_data")
    else:
        assert operation.facts()


@pytest.mark.parametrize("message", [b"", bytes(64 * 1024 + 1)], ids=["empty", "too large"])
def test_a_personal_message_has_a_size(message: bytes) -> None:
    with pytest.raises(InvalidField, match="message"):
        SignPersonalMessage(message)
