"""A mail server (RFC 5321) that takes messages of one user over TLS, and fails as it is told."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default

from tests.fakes.front import Fault, Says
from tests.fakes.internet import Site

_NO_REPLY = (408, 429)


@dataclass
class FakeMail(Site):
    """Keeps messages with the people whom they are for.

    Faults hit the reply that says whether a message was taken. `refuses` are replies to commands.
    """

    user: str = "crier"
    password: str = ""
    # What it agrees on TLS with after STARTTLS; None where TLS was there before.
    starttls: ssl.SSLContext | None = None
    offers: tuple[str, ...] = ("SIZE 1000000", "AUTH LOGIN PLAIN", "8BITMIME")
    refuses: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[list[str], Message]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    # Comes in the clear behind the reply to STARTTLS, as somebody on the way would put it there.
    injected: bytes = b""
    arrived: int = 0
    heard: bytes = b""
    _faults: deque[Fault] = field(default_factory=deque)

    def fail_next(self, *faults: Fault) -> None:
        """Fail the next messages, in order."""
        self._faults.extend(faults)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with one client."""
        self.arrived += 1
        self._people: list[str] = []
        self._is_secure = self.starttls is None
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.write(b"220 mail.test ESMTP\r\n")
            while True:
                line = await reader.readuntil(b"\r\n")
                self.heard += line
                text = line.decode().strip()
                self.commands.append(text.partition(" ")[0])
                if text == "STARTTLS" and self.starttls:
                    writer.write(b"220 go ahead\r\n" + self.injected)
                    await writer.start_tls(self.starttls)
                    self._is_secure = True
                    continue
                writer.write(self._reply(text))
                await writer.drain()
                if text == "DATA":
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self.heard += content
                    reply = self._take(content[:-3])
                    if not reply:
                        return
                    writer.write(reply)
                    await writer.drain()

    def _reply(self, text: str) -> bytes:
        name, _, rest = text.partition(" ")
        if name in self.refuses:
            return f"{self.refuses[name]}\r\n".encode()
        match name:
            case "EHLO":
                offers = [*self.offers, *([] if self._is_secure else ["STARTTLS"])]
                lines = ["250-mail.test", *(f"250-{one}" for one in offers[:-1])]
                return "\r\n".join([*lines, f"250 {offers[-1]}", ""]).encode()
            case "AUTH":
                assert self._is_secure, "a password came in the clear"
                login = f"\0{self.user}\0{self.password}".encode()
                is_known = rest == "PLAIN " + base64.b64encode(login).decode()
                return b"235 2.7.0 fine\r\n" if is_known else b"535 5.7.8 who are you\r\n"
            case "RCPT":
                self._people.append(rest.removeprefix("TO:"))
                return b"250 2.1.5 fine\r\n"
            case "MAIL":
                return b"250 2.1.0 fine\r\n"
            case "DATA":
                return b"354 go on\r\n"
        return b"500 5.5.2 what\r\n"

    def _take(self, content: bytes) -> bytes:
        fault = self._faults.popleft() if self._faults else ""
        if isinstance(fault, Says):
            return _said(fault)
        if fault != "failed":
            clean = content.replace(b"\r\n..", b"\r\n.")
            self.messages.append((self._people, message_from_bytes(clean, policy=default)))
        return b"" if fault else b"250 2.0.0 taken\r\n"


def _said(says: Says) -> bytes:
    """Return a reply that is about as wrong as an answer of the web."""
    words = says.body.replace(b"\r\n", b" ")
    if says.status == 429:
        return b"452 4.3.1 later\r\n"
    if says.status in _NO_REPLY or says.status >= 500:
        return b"999 nobody knows\r\n"
    if says.status >= 300:
        return b"554 5.7.1 " + words[:900] + b"\r\n"
    return words + b"\r\n"
