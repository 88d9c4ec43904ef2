"""HTTP Basic authentication (RFC 7617): the one header from which the password can be read."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import BasicKey, LoadedKey
from .operation import Facts, Headers, fitting
from .target import Target, parse_target


@dataclass(frozen=True)
class BasicHeaders:
    """Authorize a request; whoever gets the header can use it for any other one too."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BASIC})
    name: ClassVar[str] = "basic"

    method: str
    url: str = field(repr=False)
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", parse_target(self.method, self.url))

    def facts(self) -> Facts:
        return self.target.facts()

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the `Authorization` header."""
        basic = fitting(key, BasicKey)
        pair = f"{basic.username}:{basic.password}".encode()
        return Headers({"Authorization": "Basic " + base64.b64encode(pair).decode()})
