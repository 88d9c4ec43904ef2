"""Handing one message to a mail server (RFC 5321) that one logs in to (RFC 4954), over TLS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...egress import Lost, Refused, Unreached
from ...egress.client import Egress, Line
from .. import Unsent

# From the connection to the last reply.
SECONDS_MAX = 60.0
LINE_BYTES_MAX = 2_048
LINES_MAX = 64

# We have no name that anybody knows.
_US = "[127.0.0.1]"
_REPLY = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?")
_TEMPORARY = "4"


@dataclass(frozen=True)
class Server:
    """Where mail is handed in: over TLS from the beginning, or from `STARTTLS` on."""

    host: str
    port: int
    is_tls: bool


@dataclass(frozen=True)
class Envelope:
    """Who sends what to whom; `content` has lines that end with CR and LF."""

    sender: str
    recipients: Sequence[str]
    content: bytes


@dataclass(frozen=True)
class _Reply:
    code: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.lines)


async def hand_in(egress: Egress, server: Server, login: str, envelope: Envelope) -> None:
    """Return once the server has the message; `login` is what follows `AUTH`.

    Raise `Refused` where it does not take it, `Unsent` where it takes it later, and `Lost` where
    nobody knows, which is so only after the end of the message was sent.
    """
    is_handed_in = False
    try:
        async with (
            asyncio.timeout(SECONDS_MAX),
            egress.connected(server.host, server.port, is_tls=server.is_tls) as line,
        ):
            await _prepare(line, server, login, envelope)
            is_handed_in = True
            stuffed = re.sub(rb"(?m)^\.", b"..", envelope.content)
            reply = await _say(line, stuffed + b".")
            _require(reply, "250", "MESSAGE_REFUSED")
    except (Lost, Unreached, OSError, TimeoutError) as error:
        raise (Lost if is_handed_in else Unsent)(server.host) from error


async def _prepare(line: Line, server: Server, login: str, envelope: Envelope) -> None:
    """Come as far as the message itself."""
    _require(await _reply(line), "220", "SERVER_REFUSED")
    able = await _greet(line)
    if not server.is_tls:
        if "STARTTLS" not in able:
            raise Refused("TLS_MISSING", f"{server.host} offers no STARTTLS; nothing was sent")
        _require(await _say(line, b"STARTTLS"), "220", "TLS_MISSING")
        await line.secure()
        able = await _greet(line)
    if "PLAIN" not in able.get("AUTH", ()):
        raise Refused("LOGIN_MISSING", f"{server.host} offers no AUTH PLAIN; nothing was sent")
    answer = await _say(line, f"AUTH {login}".encode())
    if answer.code != "235":
        if answer.code.startswith(_TEMPORARY):
            raise Unsent(server.host)
        # Its words could repeat what it was told.
        raise Refused("NOT_AUTHORIZED", f"{server.host} does not know this user and password")
    mail = await _say(line, f"MAIL FROM:<{envelope.sender}>".encode())
    _require(mail, "250", "SENDER_REFUSED")
    for recipient in envelope.recipients:
        # 251: it is passed on.
        taken = await _say(line, f"RCPT TO:<{recipient}>".encode())
        _require(taken, "25", "RECIPIENT_REFUSED")
    _require(await _say(line, b"DATA"), "354", "MESSAGE_REFUSED")


async def _greet(line: Line) -> dict[str, tuple[str, ...]]:
    """Say who we are; return what the server can do, by name."""
    reply = await _say(line, f"EHLO {_US}".encode())
    _require(reply, "250", "SERVER_REFUSED")
    words = [one.upper().split() for one in reply.lines[1:]]
    return {first: tuple(others) for first, *others in filter(None, words)}


def _require(reply: _Reply, code: str, reason: str) -> None:
    if reply.code.startswith(code):
        return
    if reply.code.startswith(_TEMPORARY):
        raise Unsent("mail")
    raise Refused(reason, f"{reply.code} {reply.text}")


async def _say(line: Line, text: bytes) -> _Reply:
    line.writer.write(text + b"\r\n")
    await line.writer.drain()
    return await _reply(line)


async def _reply(line: Line) -> _Reply:
    lines = list[str]()
    while len(lines) < LINES_MAX:
        try:
            raw = await line.reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Lost(line.host) from error
        found = _REPLY.fullmatch(raw.decode("ascii", errors="replace").rstrip("\r\n"))
        if not found or len(raw) > LINE_BYTES_MAX:
            break
        lines.append(found[3] or "")
        if found[2] != "-":
            return _Reply(found[1], tuple(lines))
    raise Lost(line.host)
