"""A hub of Farcaster: it takes what is signed, keeps it once, and serves it.

It reads protobuf by itself, and hashes and verifies what it is given.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.fakes.internet import Site
from tests.fakes.x import Asked, json_answer

ME, STRANGER = 5, 99
EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
AHEAD_SECONDS_MAX = 600
DATA_BYTES_MAX = 2_048
_NETWORKS = {1: "FARCASTER_NETWORK_MAINNET", 3: "FARCASTER_NETWORK_DEVNET"}
_REACTIONS = {1: "like", 2: "recast"}

Said = tuple[int, dict[str, Any]]
Fields = dict[int, list[Any]]


class Rejected(Exception):
    """What a hub does not take: the code of the error, and its words."""


@dataclass(frozen=True)
class Message:
    """A message that a hub has taken."""

    raw: bytes
    hash: bytes
    signer: bytes
    signature: bytes
    data: Fields

    @property
    def fid(self) -> int:
        """Return whose it is."""
        return int(self.data[2][0])

    @property
    def time(self) -> int:
        """Return its time, in seconds since the epoch of Farcaster."""
        return int(self.data[3][0])


@dataclass
class JsonServer(Site):
    """A site that answers in JSON, and keeps what it was asked and has said.

    With `wire`, it says that instead, whatever it is asked.
    """

    asked: list[Asked] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    wire: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        asked = Asked(method, target, headers, body)
        self.asked.append(asked)
        if not self.wire:
            self.said.append(self.answer(asked))
        writer.write(self.wire or json_answer(*self.said[-1]))
        await writer.drain()

    def answer(self, asked: Asked) -> Said:
        """Return the status and the object of an answer."""
        raise NotImplementedError


@dataclass
class FakeHub(JsonServer):
    """Keeps casts and reactions; `signers` are the keys that may sign for a user.

    `speaks` is whose words it has for errors: those of Hubble or of Snapchain.
    """

    signers: dict[int, set[bytes]] = field(default_factory=dict)
    speaks: str = "hubble"
    now: Callable[[], datetime] = lambda: datetime(2026, 1, 1, tzinfo=UTC)
    messages: dict[bytes, Message] = field(default_factory=dict)
    casts: dict[bytes, Message] = field(default_factory=dict)
    removed: dict[tuple[int, bytes], Message] = field(default_factory=dict)
    reactions: dict[tuple[int, str, int, bytes], Message] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    users: dict[int, dict[str, str]] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Said:
        routes: dict[str, Callable[[dict[str, str]], Said]] = {
            "castById": self._cast_by_id,
            "castsByFid": lambda query: self._page(query, self._is_by),
            "castsByParent": lambda query: self._page(query, self._answers),
            "castsByMention": lambda query: self._page(query, self._mentions),
            "userDataByFid": self._user_data,
            "userNameProofByName": self._name_proof,
        }
        query = {name: one for name, [one] in parse_qs(urlsplit(asked.target).query).items()}
        try:
            if (asked.method, asked.path) == ("POST", "/v1/submitMessage"):
                assert asked.headers["content-type"] == "application/octet-stream"
                return 200, self._shown(self.submit(asked.body))
            return routes[asked.path.removeprefix("/v1/")](query)
        except Rejected as error:
            code, words = error.args
            if self.speaks == "snapchain":
                detail = f"status: InvalidArgument, message: {code}/{words}"
                return 400, {"error": "Failed to submit message", "error_detail": detail}
            return 400, {"errCode": code, "name": "HubError", "code": 3, "details": words}

    # --- Taking --------------------------------------------------------------------------------

    def submit(self, raw: bytes) -> Message:
        """Take a message; raise `Rejected`."""
        message = self._verified(raw)
        if message.hash in self.messages:
            raise Rejected("bad_request.duplicate", "message has already been merged")
        {1: self._add, 2: self._remove, 3: self._react}[message.data[1][0]](message)
        self.messages[message.hash] = message
        return message

    def _verified(self, raw: bytes) -> Message:
        fields = read_fields(raw)
        if fields.get(3) != [1] or fields.get(5) != [1]:
            raise _invalid("unknown scheme")
        [content], [digest], [signature], [signer] = (fields[one] for one in (7, 2, 4, 6))
        message = Message(raw, digest, signer, signature, read_fields(content))
        if len(content) > DATA_BYTES_MAX:
            raise _invalid("dataBytes > 2048 bytes")
        if blake3(content).digest(20) != digest:
            raise _invalid("invalid hash")
        try:
            Ed25519PublicKey.from_public_bytes(signer).verify(signature, digest)
        except InvalidSignature as error:
            raise _invalid("invalid signature") from error
        if signer not in self.signers.get(message.fid, set()):
            raise _invalid("invalid signer")
        if message.time > (self.now() - EPOCH).total_seconds() + AHEAD_SECONDS_MAX:
            raise _invalid("timestamp more than 10 mins in the future")
        return message

    def _add(self, message: Message) -> None:
        [body] = message.data[5]
        cast = read_fields(body)
        [text] = cast.get(4, [b""])
        if len(text) > (1_024 if cast.get(8) == [1] else 320):
            raise _invalid("text > 320 bytes")
        if cast.get(8) == [1] and len(text) <= 320:
            raise _invalid("text too short for long cast")
        mentions, positions = (read_numbers(cast.get(one, [])) for one in (2, 5))
        if len(mentions) != len(positions) or len(mentions) > 10 or len(cast.get(6, [])) > 2:
            raise _invalid("mentions and mentionsPositions must match")
        for position in positions:
            # Raises where it is within a character.
            text[:position].decode()
            assert position <= len(text)
        if (message.fid, message.hash) in self.removed:
            raise Rejected("bad_request.conflict", "message conflicts with a CastRemove")
        self.casts[message.hash] = message

    def _remove(self, message: Message) -> None:
        [target] = read_fields(message.data[6][0])[1]
        before = self.removed.get((message.fid, target))
        if before and before.time >= message.time:
            raise Rejected("bad_request.conflict", "message conflicts with a more recent remove")
        self.removed[message.fid, target] = message
        if (cast := self.casts.get(target)) and cast.fid == message.fid:
            del self.casts[target]

    def _react(self, message: Message) -> None:
        body = read_fields(message.data[7][0])
        target = read_fields(body[2][0])
        key = (message.fid, _REACTIONS[body[1][0]], target[1][0], target[2][0])
        before = self.reactions.get(key)
        if before and before.time >= message.time:
            raise Rejected("bad_request.conflict", "message conflicts with a more recent add")
        self.reactions[key] = message

    # --- Serving -------------------------------------------------------------------------------

    def _cast_by_id(self, query: dict[str, str]) -> Said:
        cast = self.casts.get(bytes.fromhex(query["hash"].removeprefix("0x")))
        if cast is None or cast.fid != int(query["fid"]):
            raise Rejected("not_found", "record not found")
        return 200, self._shown(cast)

    def _page(self, query: dict[str, str], fits: Callable[[Message, dict[str, str]], bool]) -> Said:
        found = sorted((one for one in self.casts.values() if fits(one, query)), key=_order)
        if query.get("reverse") == "true":
            found.reverse()
        page = found[: int(query.get("pageSize", "100"))]
        return 200, {"messages": [self._shown(one) for one in page], "nextPageToken": ""}

    def _is_by(self, cast: Message, query: dict[str, str]) -> bool:
        return cast.fid == int(query["fid"])

    def _mentions(self, cast: Message, query: dict[str, str]) -> bool:
        return int(query["fid"]) in read_numbers(read_fields(cast.data[5][0]).get(2, []))

    def _answers(self, cast: Message, query: dict[str, str]) -> bool:
        for parent in map(read_fields, read_fields(cast.data[5][0]).get(3, [])):
            asked = (int(query["fid"]), bytes.fromhex(query["hash"].removeprefix("0x")))
            return (parent[1][0], parent[2][0]) == asked
        return False

    def _user_data(self, query: dict[str, str]) -> Said:
        told = self.users.get(int(query["fid"]), {})
        kinds = {"name": "USERNAME", "display_name": "DISPLAY", "bio": "BIO", "url": "URL"}
        messages = [
            {"data": {"userDataBody": {"type": f"USER_DATA_TYPE_{kinds[name]}", "value": value}}}
            for name, value in told.items()
        ]
        return 200, {"messages": messages, "nextPageToken": ""}

    def _name_proof(self, query: dict[str, str]) -> Said:
        if query["name"] not in self.names:
            raise Rejected("not_found", "record not found")
        kind = "USERNAME_TYPE_FNAME"
        return 200, {"name": query["name"], "fid": self.names[query["name"]], "type": kind}

    def _shown(self, message: Message) -> dict[str, Any]:
        data: dict[str, Any] = {"fid": message.fid, "timestamp": message.time}
        data["network"] = _NETWORKS[message.data[4][0]]
        if message.data[1] == [1]:
            data |= {"type": "MESSAGE_TYPE_CAST_ADD", "castAddBody": _cast(message.data[5][0])}
        return {
            "data": data,
            "hash": f"0x{message.hash.hex()}",
            "hashScheme": "HASH_SCHEME_BLAKE3",
            "signature": base64.b64encode(message.signature).decode(),
            "signatureScheme": "SIGNATURE_SCHEME_ED25519",
            "signer": f"0x{message.signer.hex()}",
        }


def _invalid(words: str) -> Rejected:
    return Rejected("bad_request.validation_failure", words)


def _order(cast: Message) -> tuple[int, bytes]:
    return cast.time, cast.hash


def _cast(body: bytes) -> dict[str, Any]:
    fields = read_fields(body)
    shown: dict[str, Any] = {
        "embedsDeprecated": [],
        "mentions": read_numbers(fields.get(2, [])),
        "text": fields.get(4, [b""])[0].decode(),
        "mentionsPositions": read_numbers(fields.get(5, [])),
        "embeds": [_embed(read_fields(one)) for one in fields.get(6, [])],
    }
    for parent in fields.get(3, []):
        shown["parentCastId"] = _cast_id(read_fields(parent))
    return shown


def _embed(fields: Fields) -> dict[str, Any]:
    if 1 in fields:
        return {"url": fields[1][0].decode()}
    return {"castId": _cast_id(read_fields(fields[2][0]))}


def _cast_id(fields: Fields) -> dict[str, Any]:
    return {"fid": fields[1][0], "hash": f"0x{fields[2][0].hex()}"}


def read_fields(content: bytes) -> Fields:
    """Return the fields of a message of protobuf: numbers, and what has a length, as bytes."""
    fields: Fields = {}
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        value, position = _varint(content, position)
        if tag & 7:
            assert tag & 7 == 2, "there are only numbers, and what has a length"
            end = position + value
            assert end <= len(content), "it is whole"
            fields.setdefault(tag >> 3, []).append(content[position:end])
            position = end
        else:
            fields.setdefault(tag >> 3, []).append(value)
    return fields


def read_numbers(packed: list[bytes]) -> list[int]:
    """Return the numbers of a repeated field."""
    numbers, content, position = [], b"".join(packed), 0
    while position < len(content):
        number, position = _varint(content, position)
        numbers.append(number)
    return numbers


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
