"""What is written to contracts and read from them, against an encoder of somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi import abi as eth_abi
from eth_utils.abi import event_signature_to_log_topic, function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pydantic import JsonValue

from runtime.connectors.evm.abi import VALUES_MAX, AbiInvalid, decode, encode
from runtime.connectors.evm.transactions import word
from runtime.connectors.evm.types import SignatureInvalid, Type, read_event, read_method

WORDS = st.sampled_from([8, 64, 128, 256])
LEAVES: SearchStrategy[Type] = st.one_of(
    st.builds(Type, st.sampled_from(["uint", "int"]), WORDS),
    st.builds(Type, st.sampled_from(["address", "bool", "bytes", "string"])),
    st.builds(Type, st.just("fixed bytes"), st.sampled_from([1, 4, 32])),
)


def _around(inner: SearchStrategy[Type]) -> SearchStrategy[Type]:
    return st.one_of(
        inner.map(lambda one: Type("array", -1, (one,))),
        inner.map(lambda one: Type("array", 2, (one,))),
        st.lists(inner, min_size=1, max_size=3).map(lambda few: Type("tuple", parts=tuple(few))),
    )


TYPES = st.lists(st.recursive(LEAVES, _around, max_leaves=4), max_size=4)


def _value(kind: Type) -> SearchStrategy[Any]:
    """Return values as the other encoder takes them."""
    match kind.kind:
        case "uint":
            return st.integers(0, 2**kind.size - 1)
        case "int":
            return st.integers(-(2 ** (kind.size - 1)), 2 ** (kind.size - 1) - 1)
        case "address":
            return st.binary(min_size=20, max_size=20).map(lambda one: f"0x{one.hex()}")
        case "bool":
            return st.booleans()
        case "fixed bytes":
            return st.binary(min_size=kind.size, max_size=kind.size)
        case "bytes":
            return st.binary(max_size=70)
        case "string":
            return st.text(max_size=40)
        case "tuple":
            return st.tuples(*map(_value, kind.parts))
    size = (0, 3) if kind.size < 0 else (kind.size, kind.size)
    return st.lists(_value(kind.parts[0]), min_size=size[0], max_size=size[1])


def _json(value: object) -> JsonValue:
    match value:
        case bool() | str():
            return value
        case int():
            return str(value)
        case bytes():
            return f"0x{value.hex()}"
        case list() | tuple():
            return [_json(one) for one in value]
    raise AssertionError(value)


@st.composite
def _calls(draw: DrawFn) -> tuple[list[Type], list[Any]]:
    kinds = draw(TYPES)
    return kinds, [draw(_value(kind)) for kind in kinds]


@given(_calls())
def test_what_is_written_is_what_others_write_and_is_read_again(
    call: tuple[list[Type], list[Any]],
) -> None:
    kinds, values = call
    told = [_json(value) for value in values]
    content = encode(kinds, told)
    assert content == eth_abi.encode([kind.name for kind in kinds], values)
    assert decode(kinds, content) == told


@given(TYPES, st.lists(st.one_of(st.integers(0, 300).map(word), st.binary(max_size=32))))
def test_whatever_a_contract_answers_is_read_or_refused_and_never_grows(
    kinds: list[Type], parts: list[bytes]
) -> None:
    content = b"".join(parts)
    try:
        found = decode(kinds, content)
    except AbiInvalid:
        return
    assert len(str(found)) < 10_000 + 10 * len(content)


def test_pointers_that_meet_do_not_multiply_what_is_there() -> None:
    # A list of lists, of which each is the same long one.
    nested = Type("array", -1, (Type("array", -1, (Type("uint", 256),)),))
    many = 900
    content = word(32) + word(many) + word(many * 32) * many + word(many) + word(7) * many
    with pytest.raises(AbiInvalid, match=f"more than {VALUES_MAX}"):
        decode([nested], content)
    texts = Type("array", -1, (Type("string"),))
    content = word(32) + word(100) + word(100 * 32) * 100 + word(3_200) + b"a" * 3_200
    with pytest.raises(AbiInvalid, match="more bytes"):
        decode([texts], content)


@pytest.mark.parametrize(
    ("text", "canonical", "returned"),
    [
        ("balanceOf(address)", "balanceOf(address)", ""),
        ("function totalSupply() external view returns (uint)", "totalSupply()", "uint256"),
        (
            "transfer(address to, uint256 amount) returns (bool ok);",
            "transfer(address,uint256)",
            "bool",
        ),
        (
            "f((address payable who, uint[2][] memory n)[] calldata x, tuple(int8 a) y) pure",
            "f((address,uint256[2][])[],(int8))",
            "",
        ),
        ("function(bytes32 _a)", "function(bytes32)", ""),
    ],
)
def test_methods_are_read_as_people_write_them(text: str, canonical: str, returned: str) -> None:
    method = read_method(text)
    assert method.canonical == canonical
    assert ",".join(one.type.name for one in method.returns) == returned
    assert method.selector == function_signature_to_4byte_selector(canonical)


def test_events_say_what_is_indexed() -> None:
    text = "event Transfer(address indexed from, address indexed to, uint256 value)"
    event = read_event(text)
    assert [(one.name, one.is_indexed) for one in event.parameters] == [
        ("from", True),
        ("to", True),
        ("value", False),
    ]
    assert event.topic == event_signature_to_log_topic("Transfer(address,address,uint256)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "transfer",
        "transfer(",
        "transfer(address",
        "transfer(address to to2)",
        "transfer(address,)",
        "transfer(uint7)",
        "transfer(bytes33)",
        "transfer(fixed128x18)",
        "transfer(())",
        "transfer(uint[0])",
        "transfer(uint[99999])",
        "transfer(uint[][][][][])",
        "transfer((((((uint))))))",
        "transfer(address indexed to)",
        "transfer(address) returns",
        "transfer(address) returns (bool) more",
        "transfer(address) sometimes",
        "transfer(address){}",
        f"transfer({','.join(['uint'] * 33)})",
        f"{'a' * 500}(uint)",
    ],
)
def test_what_is_no_method_is_refused_with_what_is_wrong(text: str) -> None:
    with pytest.raises(SignatureInvalid, match="write it as in transfer"):
        read_method(text)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", "256"),
        ("uint8", "-1"),
        ("int8", "128"),
        ("uint256", 1.0),
        ("uint256", "1e3"),
        ("uint256", "0x10"),
        ("uint256", "٣"),
        ("uint256", True),
        ("uint256", "9" * 79),
        ("bool", "true"),
        ("address", "0x0"),
        ("address", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".replace("a", "A", 1)),
        ("bytes4", "0x00"),
        ("bytes", "00"),
        ("string", 7),
        ("uint[2]", ["1"]),
        ("uint[]", "1"),
        ("(uint,bool)", ["1"]),
    ],
)
def test_what_does_not_fit_its_type_is_refused(kind: str, value: JsonValue) -> None:
    method = read_method(f"f({kind})")
    with pytest.raises(AbiInvalid, match=r"arguments"):
        encode([one.type for one in method.parameters], [value])


@pytest.mark.parametrize("count", [0, 2])
def test_a_method_takes_as_many_arguments_as_it_has(count: int) -> None:
    with pytest.raises(AbiInvalid, match="the method takes 1"):
        encode([Type("uint", 256)], ["1"] * count)
