"""What is said on Farcaster: casts, what they mention and show, and reactions to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from pydantic import JsonValue

from ...egress import Refused

# What a hub takes (https://github.com/farcasterxyz/protocol, specification of messages).
CAST_BYTES_MAX = 320
LONG_CAST_BYTES_MAX = 1_024
EMBEDS_MAX = 2
URL_BYTES_MAX = 256
MENTIONS_MAX = 10

# Of the registry of names, or of ENS.
NAME = r"[a-z0-9][a-z0-9-]{0,15}(?:\.[a-z0-9]{1,10}){0,2}"
_AT_NAME = re.compile(rf"(?<![\w@])@({NAME})(?![\w-])")


@dataclass(frozen=True)
class CastId:
    """Which cast: whose it is, and its hash of 20 bytes."""

    fid: int
    hash: bytes

    @property
    def hex(self) -> str:
        """Return the hash as everybody writes it."""
        return f"0x{self.hash.hex()}"


@dataclass(frozen=True)
class Mention:
    """A user whom a cast names, without the name, at a place in the text, in bytes of UTF-8."""

    fid: int
    position: int


@dataclass(frozen=True)
class Cast:
    """What is posted; `text` is as people write it, with the names of whom it mentions."""

    text: str
    mentioned: Mapping[str, int]
    reply_to: CastId | None
    urls: tuple[str, ...]
    quote: CastId | None


@dataclass(frozen=True)
class Removal:
    """A cast of one's own is deleted."""

    hash: bytes


@dataclass(frozen=True)
class Reaction:
    """A cast is liked, or shown to one's own followers."""

    kind: Literal["like", "recast"]
    target: CastId


Said: TypeAlias = Cast | Removal | Reaction


def read_cast(arguments: Mapping[str, JsonValue]) -> Cast:
    """Return what is to be posted; raise `Refused` for what Farcaster does not take."""
    text = str(arguments["text"])
    mentioned = {str(one["name"]): _fid(one) for one in _objects(arguments, "mentions")}
    urls = tuple(map(str, cast("Sequence[JsonValue]", arguments.get("embeds", ()))))
    quote = _optional_id(arguments, "quote")
    if len(text.encode()) > LONG_CAST_BYTES_MAX:
        told = f"a cast has at most {LONG_CAST_BYTES_MAX} bytes of UTF-8; write less"
        raise Refused("TEXT_TOO_LONG", told)
    if any(len(url.encode()) > URL_BYTES_MAX for url in urls):
        raise Refused("EMBED_TOO_LONG", f"an address has at most {URL_BYTES_MAX} bytes")
    if len(urls) + (quote is not None) > EMBEDS_MAX:
        told = f"a cast shows at most {EMBEDS_MAX} addresses and casts; leave one out"
        raise Refused("EMBEDS_EXCEEDED", told)
    _, mentions = placed(text, mentioned)
    if len(mentions) > MENTIONS_MAX:
        raise Refused("MENTIONS_EXCEEDED", f"a cast mentions at most {MENTIONS_MAX} users")
    missing = {*mentioned.values()} - {one.fid for one in mentions}
    if missing:
        names = ", ".join(f"@{name}" for name, fid in mentioned.items() if fid in missing)
        raise Refused("MENTION_MISSING", f"the text has to say {names} where they are mentioned")
    return Cast(text, mentioned, _optional_id(arguments, "reply_to"), urls, quote)


def placed(text: str, mentioned: Mapping[str, int]) -> tuple[str, tuple[Mention, ...]]:
    """Return a text without the names of whom it mentions, and where they stand in it."""
    kept, mentions, end = "", [], 0
    for match in _AT_NAME.finditer(text):
        if match[1] in mentioned:
            kept += text[end : match.start()]
            end = match.end()
            mentions.append(Mention(mentioned[match[1]], len(kept.encode())))
    return kept + text[end:], tuple(mentions)


def with_mentions(text: str, mentions: Sequence[Mention]) -> str:
    """Return a text with `@fid` where somebody is mentioned; wrong places count as the end."""
    content, pieces, end = text.encode(), [], 0
    for one in mentions[:MENTIONS_MAX]:
        position = min(max(one.position, end), len(content))
        pieces += [content[end:position], f"@{one.fid}".encode()]
        end = position
    return b"".join([*pieces, content[end:]]).decode(errors="replace")


def cast_id_of(value: Mapping[str, JsonValue]) -> CastId:
    """Return which cast arguments name, valid under their schema."""
    return CastId(_fid(value), hash_of(value))


def hash_of(value: Mapping[str, JsonValue]) -> bytes:
    """Return the hash that arguments name, valid under their schema."""
    return bytes.fromhex(str(value["hash"]).removeprefix("0x"))


def _optional_id(arguments: Mapping[str, JsonValue], name: str) -> CastId | None:
    value = arguments.get(name)
    return cast_id_of(value) if isinstance(value, dict) else None


def _objects(arguments: Mapping[str, JsonValue], name: str) -> list[dict[str, JsonValue]]:
    return cast("list[dict[str, JsonValue]]", arguments.get(name, []))


def _fid(value: Mapping[str, JsonValue]) -> int:
    fid = value["fid"]
    assert isinstance(fid, int | float), "arguments are valid under the schema"
    # JSON Schema takes 10.0 for an integer.
    return int(fid)
