"""Asks the web for those who must not choose whom they reach: checked, pinned, and bounded."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import h11

from . import Address, Answer, Lost, Refused, Request, Unreached
from .addresses import HostRule, Url, is_local, is_public, read_url
from .wire import Reply, Wire

# From the wait for one of the places to the last byte, with all redirects.
SECONDS_MAX = 20.0
# Of each connection: to look its host up, to connect, and to agree on TLS.
CONNECT_SECONDS_MAX = 5.0
REDIRECTS_MAX = 5
# At once, of all runs of a runtime.
REQUESTS_MAX = 64
# Of those that a name has; all are checked.
ADDRESSES_TRIED_MAX = 3
# Tokens of sessions of clouds are long.
HEADER_CHARACTERS_MAX = 4_096
# What is read of a connection before we look at it.
AHEAD_BYTES = 64 * 1024

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_REDIRECTS = {301, 302, 303, 307, 308}
# Those which say that nothing has been done, and that it is to be asked for as it was.
_NOT_DONE = {307, 308}
_READS = {"GET", "HEAD"}
# What another service may hear of what was meant for this one.
_CARRIED = {"accept", "accept-language"}
_HEADER_NAME = re.compile(r"[a-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = {
    *("host", "user-agent", "accept-encoding", "connection", "content-length"),
    *("transfer-encoding", "upgrade", "te", "trailer", "expect", "cookie"),
}


class Connect(Protocol):
    """Opens connections to addresses, never to names."""

    async def __call__(
        self, address: Address, port: int, *, tls: ssl.SSLContext | None, name: str
    ) -> Stream:
        """Connect; over TLS, whoever answers proves that it is `name`."""


@dataclass(frozen=True)
class _Hop:
    """One request of those that a redirect makes of one."""

    url: Url
    method: str
    headers: Mapping[str, str]
    body: bytes
    is_bound: bool


@dataclass
class Line:
    """A connection to a host."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    tls: ssl.SSLContext
    # Once it is gone, Python closes what it wrote to.
    _in_the_clear: asyncio.StreamWriter | None = None

    async def secure(self) -> None:
        """Agree on TLS; what came before it in the clear is forgotten. Raise `Refused`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=AHEAD_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport = await loop.start_tls(
                self.writer.transport, protocol, self.tls, server_hostname=self.host
            )
        except ssl.SSLCertVerificationError as error:
            raise _certificate_invalid(self.host, error) from error
        except OSError as error:
            raise Unreached(self.host) from error
        assert transport is not None, "it is connected"
        protocol.connection_made(transport)
        self._in_the_clear = self.writer
        self.reader, self.writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Egress:
    """Asks hosts that the caller names, at addresses of the internet and no others.

    `allowed` are services by host and port that the operator lets be asked although they are on
    this machine or in its network; callers have to name them as well.
    """

    def __init__(
        self,
        resolve: Resolve,
        connect: Connect,
        tls: ssl.SSLContext,
        *,
        allowed: Collection[tuple[str, int]] = (),
    ) -> None:
        self._resolve = resolve
        self._connect = connect
        self._tls = tls
        self._allowed = frozenset(allowed)
        self._slots = asyncio.Semaphore(REQUESTS_MAX)

    async def ask(self, request: Request, rules: Sequence[HostRule], *, bytes_max: int) -> Answer:
        """Return what is answered, with at most so many bytes of its body.

        A request that only reads follows redirects; any other one only where they say that nothing
        was done, to the same service, and is answered with the redirect otherwise. Raise `Refused`,
        `Unreached` if nothing was sent, and `Lost` if nobody knows what came of it.
        """
        deadline = asyncio.get_running_loop().time() + SECONDS_MAX
        hop = _first(request)
        _require_host(hop.url, rules)
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unreached(hop.url.host) from error
        try:
            return await self._follow(hop, rules, deadline, bytes_max)
        finally:
            self._slots.release()

    @asynccontextmanager
    async def connected(self, host: str, port: int, *, is_tls: bool) -> AsyncGenerator[Line, None]:
        """Give a connection to a host that is not of the web, while the block runs.

        Its addresses are looked at as those of the web are. Raise `Unreached` and `Refused`.
        """
        deadline = asyncio.get_running_loop().time() + SECONDS_MAX
        url = Url("https" if is_tls else "http", host, port, "/")
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unreached(host) from error
        try:
            reader, writer = await self._dial(url, await self._addresses(url, deadline), deadline)
            line = Line(reader, writer, host, self._tls)
            try:
                yield line
            finally:
                line.writer.transport.abort()
        finally:
            self._slots.release()

    async def _follow(
        self, hop: _Hop, rules: Sequence[HostRule], deadline: float, bytes_max: int
    ) -> Answer:
        for count in range(REDIRECTS_MAX + 1):
            try:
                # Of a redirect, nothing is taken on trust that was not for the first address.
                _require_host(hop.url, rules)
                addresses = await self._addresses(hop.url, deadline)
            except Refused as error:
                if count == 0:
                    raise
                raise _redirect_forbidden(error.message) from error
            reply = await self._exchange(hop, addresses, deadline, bytes_max)
            following = _following(hop, reply)
            if following is None:
                return Answer(reply.status, str(hop.url), reply.headers, reply.body, reply.is_cut)
            hop = following
        raise _redirect_forbidden(f"more than {REDIRECTS_MAX} of them follow each other")

    async def _addresses(self, url: Url, deadline: float) -> Sequence[Address]:
        """Return the addresses of a host, looked up once, if all of them may be asked."""
        literal = url.literal
        try:
            async with self._connecting(url, deadline):
                found = [literal] if literal else await self._resolve(url.host, url.port)
        except OSError as error:
            raise Unreached(url.host) from error
        if not found:
            raise Refused("HOST_UNKNOWN", f"there is no host {url.host}; check how it is written")
        may_be_local = (url.host, url.port) in self._allowed
        for address in found:
            if not (is_public(address) or (may_be_local and is_local(address))):
                told = (
                    f"{url.host} leads to an address that is not of the internet; the operator"
                    " can allow its host and port in RUNTIME_EGRESS_ALLOW"
                )
                raise Refused("ADDRESS_FORBIDDEN", told)
        return found

    async def _exchange(
        self, hop: _Hop, addresses: Sequence[Address], deadline: float, bytes_max: int
    ) -> Reply:
        """Send a request over a connection of its own."""
        event, url = _event(hop), hop.url
        reader, writer = await self._dial(url, addresses, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                wire = Wire(reader, writer, peer=url.host)
                return await wire.exchange(event, hop.body, bytes_max=bytes_max)
        except TimeoutError as error:
            raise Lost(url.host) from error
        finally:
            # A polite end of TLS would wait for the other side.
            writer.transport.abort()

    async def _dial(self, url: Url, addresses: Sequence[Address], deadline: float) -> Stream:
        """Connect to one of the addresses; the name is not looked up again."""
        problem: Exception | None = None
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            try:
                async with self._connecting(url, deadline):
                    tls = self._tls if url.scheme == "https" else None
                    return await self._connect(address, url.port, tls=tls, name=url.host)
            except ssl.SSLCertVerificationError as error:
                raise _certificate_invalid(url.host, error) from error
            except (OSError, Unreached) as error:
                problem = error
        raise Unreached(url.host) from problem

    @asynccontextmanager
    async def _connecting(self, url: Url, deadline: float) -> AsyncGenerator[None, None]:
        until = min(deadline, asyncio.get_running_loop().time() + CONNECT_SECONDS_MAX)
        try:
            async with asyncio.timeout_at(until):
                yield
        except TimeoutError as error:
            raise Unreached(url.host) from error


def _certificate_invalid(host: str, error: ssl.SSLCertVerificationError) -> Refused:
    told = f"the certificate of {host} is not valid for it: {error.verify_message}"
    return Refused("CERTIFICATE_INVALID", told)


def _first(request: Request) -> _Hop:
    """Return a request as it is sent first, or raise `Refused`."""
    for name, value in request.headers.items():
        if name in _OURS or not _HEADER_NAME.fullmatch(name):
            raise Refused("HEADER_INVALID", f"a header {name[:64]!r} cannot be sent")
        if len(value) > HEADER_CHARACTERS_MAX or not _HEADER_VALUE.fullmatch(value):
            told = f"the header {name} takes one line of visible ASCII, {HEADER_CHARACTERS_MAX}"
            raise Refused("HEADER_INVALID", f"{told} characters at most")
    url = read_url(request.url).with_query(request.query)
    headers = {name: value.strip() for name, value in request.headers.items()}
    return _Hop(url, request.method, headers, request.body, request.is_bound)


def _require_host(url: Url, rules: Sequence[HostRule]) -> None:
    if not any(rule.admits(url) for rule in rules):
        told = f"{url.authority} is not among the hosts of this action; ask one that is"
        raise Refused("HOST_FORBIDDEN", told)


def _following(hop: _Hop, reply: Reply) -> _Hop | None:
    """Return what a redirect wants to be asked; None if it is an answer."""
    location = reply.headers.get("location", "")
    if reply.status not in _REDIRECTS or not location:
        return None
    is_read = hop.method in _READS
    if not is_read and reply.status not in _NOT_DONE:
        return None
    if hop.is_bound:
        raise _redirect_forbidden("what was asked has a key in it, which is for this address")
    try:
        url = hop.url.joined(location)
    except Refused as error:
        raise _redirect_forbidden(error.message) from error
    if hop.url.scheme == "https" and url.scheme == "http":
        raise _redirect_forbidden(f"it leads from https to http, at {url.authority}")
    if url.origin == hop.url.origin:
        return replace(hop, url=url)
    if not is_read:
        told = f"nothing was sent on to {url.authority}; send it there, if it is to be trusted"
        raise _redirect_forbidden(told)
    headers = {name: value for name, value in hop.headers.items() if name in _CARRIED}
    return replace(hop, url=url, headers=headers)


def _redirect_forbidden(problem: str) -> Refused:
    return Refused("REDIRECT_FORBIDDEN", f"a redirect was not followed: {problem}")


def _event(hop: _Hop) -> h11.Request:
    """Return the head of a request; raise `Refused` for what `h11` would not put on a wire."""
    headers = {"host": hop.url.authority, "user-agent": "actionvm", "accept": "*/*", **hop.headers}
    headers |= {"accept-encoding": "gzip", "connection": "close"}
    if hop.body or hop.method not in _READS:
        headers["content-length"] = str(len(hop.body))
    try:
        return h11.Request(method=hop.method, target=hop.url.target, headers=[*headers.items()])
    except h11.LocalProtocolError as error:
        raise Refused("HEADER_INVALID", "the request has a header that cannot be sent") from error
