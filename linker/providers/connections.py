"""How requests reach remote providers: with bounds on each wait, and never anywhere else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import TypeVar
from urllib.request import getproxies

import httpx2

from ..settings import ProviderSettings
from .transport import Transport

CONNECTIONS_MAX = 1_000
# Less than the five seconds after which uvicorn (vLLM, SGLang) and llama-server close connections:
# a request that meets a closing one fails.
IDLE_SECONDS = 3.0

_LIMITS = httpx2.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_SECONDS)


@cache
def tls() -> ssl.SSLContext:
    """Return whom to trust. Reading that takes 20 ms, so that all providers share it."""
    return httpx2.create_ssl_context()


def timeouts(settings: ProviderSettings) -> httpx2.Timeout:
    """Return how long to wait for a connection, and for more."""
    return httpx2.Timeout(settings.silence_seconds, connect=settings.connect_seconds)


def transport() -> Transport:
    """Return new connections."""
    return Transport(trusted=tls(), connections_max=CONNECTIONS_MAX, idle_seconds=IDLE_SECONDS)


Client = TypeVar("Client", bound=httpx2.AsyncClient)


def pool(
    settings: ProviderSettings,
    kind: Callable[..., Client] = httpx2.AsyncClient,  # type: ignore[assignment]  # the default of the variable
) -> Client:
    """Return the connections of one provider. A redirect would carry the key elsewhere.

    Where the environment names a proxy, they are those of `httpx2`, which reads of whom it is.
    """
    proxies = getproxies().keys() & {"all", "http", "https"}
    return kind(
        timeout=timeouts(settings),
        transport=None if proxies else transport(),
        limits=_LIMITS,
        verify=tls(),
        follow_redirects=False,
    )
