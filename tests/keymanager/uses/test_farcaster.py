"""A message of Farcaster is signed for what its wire says, and its wire says one thing."""

from __future__ import annotations

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.farcaster import SignFarcaster
from tests.specs import specs_folder

from .samples import CAST, key_of, perform

# The bodies by type, as in message.proto of the protocol.
BODIES = {1: 5, 2: 6, 3: 7, 4: 7, 5: 14, 6: 14, 7: 9, 8: 10, 11: 12, 12: 15, 13: 16, 14: 9}


def _message_data() -> type[Message]:
    """Return MessageData with bodies of bytes, written by protobuf itself."""
    file = descriptor_pb2.FileDescriptorProto(name="farcaster.proto", syntax="proto3")
    message = file.message_type.add(name="MessageData")
    kinds = descriptor_pb2.FieldDescriptorProto
    numbers = {"type": 1, "fid": 2, "timestamp": 3, "network": 4}
    for name, number in numbers.items():
        message.field.add(name=name, number=number, type=kinds.TYPE_UINT64, label=1)
    for number in sorted(set(BODIES.values())):
        message.field.add(name=f"body{number}", number=number, type=kinds.TYPE_BYTES, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("MessageData"))


MessageData = _message_data()


def written(kind: int, fid: int, time: int, network: int, body: bytes) -> bytes:
    """Return what protobuf writes."""
    fields = {"type": kind, "fid": fid, "timestamp": time, "network": network}
    data: Message = MessageData(**fields, **{f"body{BODIES[kind]}": body})
    return data.SerializeToString(deterministic=True)


def test_the_hash_is_blake3_and_the_signature_is_of_it() -> None:
    signed = perform(SignFarcaster(CAST), key_of(Kind.ED25519))
    assert signed.hash == blake3(CAST).digest()[:20]
    Ed25519PublicKey.from_public_bytes(signed.signer).verify(signed.signature, signed.hash)


def test_facts_are_type_fid_and_network() -> None:
    facts = {"message_type": "CAST_ADD", "fid": 2, "network": "MAINNET"}
    assert SignFarcaster(CAST).facts() == facts


@given(
    kind=st.sampled_from(sorted(BODIES)),
    fid=st.integers(1, 2**64 - 1),
    time=st.integers(1, 2**32 - 1),
    network=st.integers(1, 3),
    body=st.binary(min_size=1, max_size=300),
)
def test_what_protobuf_writes_is_read_alike(
    kind: int, fid: int, time: int, network: int, body: bytes
) -> None:
    assert SignFarcaster(written(kind, fid, time, network, body)).facts()["fid"] == fid


@given(st.integers(0, len(CAST) - 1), st.integers(0, 255), st.binary(max_size=4))
def test_a_mutation_is_refused_or_what_protobuf_reads(at: int, byte: int, more: bytes) -> None:
    mutated = bytearray(CAST)
    mutated[at] = byte
    content = bytes(mutated) + more
    try:
        facts = SignFarcaster(content).facts()
    except InvalidField as refusal:
        assert refusal.field.startswith("data")
        return
    try:
        theirs = MessageData.FromString(content)
    except DecodeError:
        pytest.fail("protobuf refuses what was accepted")
    assert theirs.fid == facts["fid"]  # type: ignore[attr-defined]  # made at run time
    assert theirs.SerializeToString(deterministic=True) == content


REFUSED = {
    "empty": (b"", "data"),
    "cut": (CAST[:-1], "data"),
    "longer": (CAST + b"\0", "data"),
    "without a body": (CAST[:8], "data"),
    "two bodies": (CAST + b"\x32\x00", "data"),
    "a fid twice": (b"\x08\x01\x10\x02\x10\x03" + CAST[4:], "data"),
    "another order": (b"\x10\x02\x08\x01" + CAST[4:], "data"),
    "an unknown field first": (b"\xa0\x06\x01" + CAST, "data"),
    "a long varint": (b"\x08\x81\x00" + CAST[2:], "data"),
    "a varint without end": (b"\x08" + b"\xff" * 11, "data"),
    "a varint of 65 bits": (b"\x08\x01\x10" + b"\xff" * 9 + b"\x02" + CAST[4:], "data"),
    "an unknown type": (b"\x08\x63" + CAST[2:], "data.type"),
    "a deprecated type": (b"\x08\x09" + CAST[2:], "data.type"),
    "the body of another type": (b"\x08\x02" + CAST[2:], "data.type"),
    "a fid of 0": (b"\x08\x01\x10\x00" + CAST[4:], "data.fid"),
    "a time of 0": (CAST[:5] + b"\x00" + CAST[6:], "data.timestamp"),
    "an unknown network": (CAST[:7] + b"\x04" + CAST[8:], "data.network"),
    "too large": (written(1, 1, 1, 1, bytes(2_048)), "data"),
}


@pytest.mark.parametrize(("data", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_differently_is_refused(data: bytes, field: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        SignFarcaster(data)
    assert refusal.value.field == field


def test_every_type_of_the_published_protocol_is_known() -> None:
    protocol = (specs_folder("farcaster") / "message.proto").read_text()
    start = protocol.index("enum MessageType {")
    for line in protocol[start : protocol.index("}", start)].splitlines()[1:]:
        name, _, rest = line.strip().partition(" = ")
        if name.startswith("MESSAGE_TYPE_") and name != "MESSAGE_TYPE_NONE":
            number = int(rest.split(";")[0])
            facts = SignFarcaster(written(number, 1, 1, 1, b"a")).facts()
            assert facts["message_type"] == name.removeprefix("MESSAGE_TYPE_")
