"""Asks the web from this machine: its look-ups, its connections, its certificates."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpx

from . import Address
from .client import AHEAD_BYTES, Egress, Stream

# May take its time; raises `socket.gaierror`.
LookUp: TypeAlias = Callable[[str, int], list[Address]]

LOOKUPS_MAX = 32
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


@asynccontextmanager
async def open_egress(
    allowed: Collection[tuple[str, int]], *, look_up: LookUp | None = None
) -> AsyncGenerator[Egress, None]:
    """Give what asks the web from this machine, while the block runs."""
    # Whoever owns a name decides how long it takes: the threads of the journal are not for that.
    pool = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="egress")

    async def resolve(host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(pool, look_up or _look_up, host, port)
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                return []
            raise
        return found

    try:
        # The environment names neither proxies nor certificates.
        tls = httpx.create_ssl_context(trust_env=False)
        yield Egress(resolve, connect, tls, allowed=allowed)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def connect(address: Address, port: int, *, tls: ssl.SSLContext | None, name: str) -> Stream:
    """Connect to an address; over TLS, whoever answers proves that it is `name`."""
    return await asyncio.open_connection(
        str(address), port, ssl=tls, server_hostname=name if tls else None, limit=AHEAD_BYTES
    )


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # In the order of the system, each once.
    return [*dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found)]
