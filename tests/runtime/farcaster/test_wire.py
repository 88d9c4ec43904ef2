"""Messages of Farcaster are those of its protocol buffers, byte for byte."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

from keymanager.uses.farcaster import SignFarcaster
from runtime.connectors.farcaster.casts import (
    Cast,
    CastId,
    Mention,
    Reaction,
    Removal,
    Said,
    placed,
    with_mentions,
)
from runtime.connectors.farcaster.wire import EPOCH, message, message_data
from runtime.ports import FarcasterSignature
from tests.fakes.farcaster import ME, STRANGER, read_fields
from tests.runtime.farcaster.actions import NOW
from tests.specs import specs_folder

OTHER = CastId(STRANGER, bytes(range(20)))
SAID: list[Said] = [
    Cast("Hi.", {}, None, (), None),
    Cast("\u00fc" * 161, {}, OTHER, (), None),
    Cast("@alice", {"alice": 300}, None, ("https://a.test/",), OTHER),
    Cast("\u00fc @alice, @bob and @alice!", {"alice": 300, "bob": 2**40}, None, (), None),
    Removal(OTHER.hash),
    Reaction("like", OTHER),
    Reaction("recast", OTHER),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the classes of the published protocol buffers."""
    folder = specs_folder("farcaster")
    compiled: Path = tmp_path_factory.mktemp("protos") / "set"
    arguments = ["protoc", f"--proto_path={folder}", f"--descriptor_set_out={compiled}"]
    arguments += ["--include_imports", str(folder / "message.proto")]
    assert protoc.main(arguments) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    names = ("Message", "MessageData")
    found = {name: pool.FindMessageTypeByName(name) for name in names}
    return {name: message_factory.GetMessageClass(one) for name, one in found.items()}


def data_of(said: Said) -> bytes:
    return message_data(said, fid=ME, time=NOW + timedelta(seconds=0.9), network="devnet")


@pytest.mark.parametrize("said", SAID)
def test_data_is_what_the_published_messages_write(published: dict[str, Any], said: Said) -> None:
    data = published["MessageData"].FromString(data_of(said))
    assert data.SerializeToString(deterministic=True) == data_of(said)
    seconds = int((NOW - EPOCH).total_seconds())
    assert (data.fid, data.timestamp, data.network) == (ME, seconds, 3)
    match said:
        case Cast():
            assert data.type == 1
            body = data.cast_add_body
            text, mentions = placed(said.text, said.mentioned)
            places = zip(body.mentions, body.mentions_positions, strict=True)
            assert (body.text, [Mention(*one) for one in places]) == (text, [*mentions])
            assert [one.url for one in body.embeds if one.url] == [*said.urls]
            assert body.parent_cast_id.hash == (said.reply_to.hash if said.reply_to else b"")
        case Removal():
            assert (data.type, data.cast_remove_body.target_hash) == (2, said.hash)
        case Reaction():
            body = data.reaction_body
            assert (data.type, body.type) == (3, ["like", "recast"].index(said.kind) + 1)
            assert (body.target_cast_id.fid, body.target_cast_id.hash) == (STRANGER, OTHER.hash)


def test_a_message_has_the_signed_bytes_and_names_its_schemes(published: dict[str, Any]) -> None:
    signature = FarcasterSignature(b"h" * 20, b"s" * 64, b"k" * 32)
    raw = message(data_of(SAID[0]), signature)
    made = published["Message"].FromString(raw)
    assert made.SerializeToString(deterministic=True) == raw
    assert (made.hash, made.signature, made.signer) == (b"h" * 20, b"s" * 64, b"k" * 32)
    assert (made.hash_scheme, made.signature_scheme, made.data_bytes) == (1, 1, data_of(SAID[0]))
    assert not made.HasField("data")


@pytest.mark.parametrize("said", SAID)
def test_the_key_manager_reads_in_it_what_it_decides_about(
    said: Said,
) -> None:
    facts = SignFarcaster(data_of(said)).facts()
    kinds = {Cast: "CAST_ADD", Removal: "CAST_REMOVE", Reaction: "REACTION_ADD"}
    assert facts == {"message_type": kinds[type(said)], "fid": ME, "network": "DEVNET"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [("a" * 320, []), ("\u00fc" * 160, []), ("a" * 321, [1]), ("\u00fc" * 161, [1])],
)
def test_more_than_320_bytes_make_a_long_cast(text: str, kind: list[int]) -> None:
    body = read_fields(read_fields(data_of(Cast(text, {}, None, (), None)))[5][0])
    assert body.get(8, []) == kind


@pytest.mark.parametrize(
    ("text", "rest", "places"),
    [
        ("@alice", "", [(300, 0)]),
        ("\u00fc @alice, hi @alice.", "\u00fc , hi .", [(300, 3), (300, 8)]),
        ("a@alice @alicesmith @alice-b @carol @alice.eth", None, [(7, 36)]),
        ("cc @bob.eth. @alice", "cc . ", [(8, 3), (300, 5)]),
        ("@@alice", None, []),
    ],
)
def test_mentions_stand_where_the_names_were_in_bytes(
    text: str, rest: str | None, places: list[tuple[int, int]]
) -> None:
    mentioned = {"alice": 300, "alice.eth": 7, "bob.eth": 8}
    found, mentions = placed(text, mentioned)
    assert [(one.fid, one.position) for one in mentions] == places
    if rest is not None:
        assert found == rest
    names = {fid: f"@{name}" for name, fid in mentioned.items()}
    again = with_mentions(found, mentions)
    for fid, name in names.items():
        again = again.replace(f"@{fid}", name)
    assert again == text


@given(st.text(), st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 50)), max_size=20))
def test_wrong_places_of_strangers_break_nothing(text: str, places: list[tuple[int, int]]) -> None:
    told = with_mentions(text, [Mention(fid, position) for fid, position in places])
    assert len(told.encode(errors="replace")) <= 4 * len(text.encode(errors="replace")) + 20
