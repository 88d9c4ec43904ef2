"""Logging in to a mail server (RFC 4954) with PLAIN (RFC 4616): the password goes over TLS only."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from chassis.errors import InvalidField

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import BasicKey, LoadedKey
from .operation import Facts, Headers, fitting
from .target import Target, parse_target

_URL = re.compile(r"smtps?://([^/?]+)")


@dataclass(frozen=True)
class SmtpLogin:
    """Log in; whoever gets the answer can read the password from it."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BASIC})
    name: ClassVar[str] = "smtp"

    url: str = field(repr=False)
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        found = _URL.fullmatch(self.url)
        if not found:
            raise InvalidField("url", "is no mail server, such as 'smtps://mail.example.org:465'")
        # A host and a port are written as in the web.
        object.__setattr__(self, "target", parse_target("POST", f"https://{found[1]}"))

    def facts(self) -> Facts:
        return {"host": self.target.host}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return what follows `AUTH`."""
        basic = fitting(key, BasicKey)
        login = f"\0{basic.username}\0{basic.password}".encode()
        return Headers({"AUTH": "PLAIN " + base64.b64encode(login).decode()})
