"""Keys that services take as they are: in a header (RFC 6750, API keys) or in the path of a URL.

Whoever gets the answer can use it for any other request of the service too, so a policy allows them
for hosts and paths; nothing but a request to that one may carry it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from urllib.parse import quote

from chassis.errors import InvalidField
from chassis.fields import require_match

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import ApiKey, LoadedKey
from .operation import Facts, Headers, fitting
from .target import Target, parse_target

# Stands in the path where the key belongs: `/bot{key}/sendMessage`.
PLACE = "{key}"
BEARER = "Bearer"

# What the URL is read with: no host has capitals.
_STAND_IN = "KEY~HERE"
_KINDS = frozenset({Kind.API_KEY})
# `Bearer`, `Bot`: a scheme of RFC 9110 that names no other one.
_TOKEN_TYPE = re.compile(r"[A-Za-z]{1,32}")
_HEADER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_VALUE = re.compile(rb"[!-~](?:[ -~]{0,4000}[!-~])?")
# What a segment of a path has besides letters, digits and `-._~` (RFC 3986).
_SEGMENT = "!$&'()*,;=:@"


@dataclass(frozen=True)
class BearerHeaders:
    """Authorize a request with the key in `Authorization`, after the type that the service says."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "bearer"

    method: str
    url: str = field(repr=False)
    token_type: str = BEARER
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        require_match("token_type", self.token_type, _TOKEN_TYPE, example=BEARER)
        object.__setattr__(self, "target", parse_target(self.method, self.url))

    def facts(self) -> Facts:
        return self.target.facts()

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the `Authorization` header."""
        return Headers({"Authorization": f"{self.token_type} {_text_of(key)}"})


@dataclass(frozen=True)
class KeyHeader:
    """Authorize a request with the key in a header of the name that the service gives it."""

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "key-header"

    method: str
    url: str = field(repr=False)
    header: str
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        require_match("key_header", self.header, _HEADER, example="x-api-key")
        object.__setattr__(self, "target", parse_target(self.method, self.url))

    def facts(self) -> Facts:
        return {**self.target.facts(), "header": self.header}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return that header."""
        return Headers({self.header: _text_of(key)})


@dataclass(frozen=True)
class KeyUrl:
    """Put the key into the path of a URL, for services that want it there.

    A policy sees the path with `{key}` in it.
    """

    kinds: ClassVar[frozenset[Kind]] = _KINDS
    name: ClassVar[str] = "key-url"

    method: str
    url: str = field(repr=False)
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        target = parse_target(self.method, self.url.replace(PLACE, _STAND_IN, 1))
        if _STAND_IN in self.url or _STAND_IN not in target.path:
            raise InvalidField("url", f"has no {PLACE} in its path, where the key belongs")
        object.__setattr__(self, "target", target)

    def facts(self) -> Facts:
        return {**self.target.facts(), "path": self.target.path.replace(_STAND_IN, PLACE)}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> str:
        """Return the URL with the key in it."""
        url = self.url.replace(PLACE, quote(_text_of(key), safe=_SEGMENT), 1)
        try:
            made = parse_target(self.method, url)
        except InvalidField:
            made = None
        # `..` would lead elsewhere.
        if made is None or made.path.count("/") != self.target.path.count("/"):
            raise InvalidField("credential", "holds a key that has no place in a path")
        return url


def _text_of(key: LoadedKey) -> str:
    value = fitting(key, ApiKey).value
    # Earlier releases stored any bytes, and a line feed would begin another header.
    if not _VALUE.fullmatch(value):
        raise InvalidField("credential", "holds no printable ASCII in one line; rotate it")
    return value.decode("ascii")
