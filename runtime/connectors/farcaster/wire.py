"""Messages of Farcaster as protobuf, byte for byte as everybody writes them.

A hub knows a message by the hash of these bytes. Source: the protocol buffers of Farcaster,
`message.proto` (https://github.com/farcasterxyz/hub-monorepo, protobufs/schemas).
"""

from __future__ import annotations

from datetime import UTC, datetime

from ...ports import FarcasterSignature
from .casts import CAST_BYTES_MAX, Cast, CastId, Reaction, Removal, Said, placed

# Seconds are counted from here.
EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
NETWORKS = {"mainnet": 1, "testnet": 2, "devnet": 3}
_CAST_ADD, _CAST_REMOVE, _REACTION_ADD = 1, 2, 3
_REACTIONS = {"like": 1, "recast": 2}
_LONG_CAST = 1
_BLAKE3, _ED25519 = 1, 1
_VARINT, _LENGTH_DELIMITED = 0, 2


def message_data(said: Said, *, fid: int, time: datetime, network: str) -> bytes:
    """Return a `MessageData`; of its time, whole seconds count."""
    match said:
        case Cast():
            kind, number, body = _CAST_ADD, 5, _cast(said)
        case Removal():
            kind, number, body = _CAST_REMOVE, 6, _bytes(1, said.hash)
        case Reaction():
            target = _bytes(2, _cast_id(said.target))
            kind, number, body = _REACTION_ADD, 7, _number(1, _REACTIONS[said.kind]) + target
    seconds = int((time - EPOCH).total_seconds())
    head = _number(1, kind) + _number(2, fid) + _number(3, seconds)
    return head + _number(4, NETWORKS[network]) + _bytes(number, body)


def message(data: bytes, signature: FarcasterSignature) -> bytes:
    """Return a signed `Message`, which has its data as the bytes that were signed."""
    return b"".join(
        (
            _bytes(2, signature.hash),
            _number(3, _BLAKE3),
            _bytes(4, signature.value),
            _number(5, _ED25519),
            _bytes(6, signature.public_key),
            _bytes(7, data),
        )
    )


def _cast(cast: Cast) -> bytes:
    text, mentions = placed(cast.text, cast.mentioned)
    embeds = [_bytes(1, url.encode()) for url in cast.urls]
    embeds += [_bytes(2, _cast_id(cast.quote))] if cast.quote else []
    size = len(text.encode())
    return b"".join(
        (
            _numbers(2, [one.fid for one in mentions]),
            _bytes(3, _cast_id(cast.reply_to)) if cast.reply_to else b"",
            _bytes(4, text.encode()) if text else b"",
            _numbers(5, [one.position for one in mentions]),
            *(_bytes(6, embed) for embed in embeds),
            _number(8, _LONG_CAST) if size > CAST_BYTES_MAX else b"",
        )
    )


def _cast_id(cast: CastId) -> bytes:
    return _number(1, cast.fid) + _bytes(2, cast.hash)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _numbers(field: int, values: list[int]) -> bytes:
    """Return a repeated field, packed; nothing if there are none."""
    return _bytes(field, b"".join(map(_varint, values))) if values else b""


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    assert value >= 0, "none of these is negative"
    content = bytearray()
    while value > 0x7F:  # noqa: PLR2004  # seven bits of each byte are of the number
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*content, value))
