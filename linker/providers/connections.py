"""How requests reach remote providers: with bounds on each wait, and never anywhere else."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2

from ..settings import ProviderSettings

CONNECTIONS_MAX = 1_000
IDLE_MAX = 100
# Less than the five seconds after which uvicorn (vLLM, SGLang) and llama-server close connections:
# a request that meets a closing one fails.
IDLE_SECONDS = 3.0


@cache
def tls() -> ssl.SSLContext:
    """Return whom to trust. Reading that takes 20 ms, so that all providers share it."""
    return httpx2.create_ssl_context()


def timeouts(settings: ProviderSettings) -> httpx2.Timeout:
    """Return how long to wait for a connection, and for more."""
    return httpx2.Timeout(settings.silence_seconds, connect=settings.connect_seconds)


def pool(settings: ProviderSettings) -> httpx2.AsyncClient:
    """Return the connections of one provider. A redirect would carry the key elsewhere."""
    limits = httpx2.Limits(
        max_connections=CONNECTIONS_MAX,
        max_keepalive_connections=IDLE_MAX,
        keepalive_expiry=IDLE_SECONDS,
    )
    return httpx2.AsyncClient(
        timeout=timeouts(settings), limits=limits, verify=tls(), follow_redirects=False
    )
