"""How Gemini is reached, and asked for a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from ..errors import ModelNotFound
from ..settings import ProviderSettings
from .connections import pool
from .known import GEMINI, Known, find_known, told_of
from .wire import Failure, Hidden, retry_after_seconds

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?")
_DELAY = re.compile(r"'retryDelay': '([\d.]+)s'")

_opened: ContextVar[list[httpx2.Response] | None] = ContextVar("opened", default=None)


class Connections(httpx2.AsyncClient):
    """A client of which the package cannot take the timeouts, and whose answers can be closed.

    The package sends every request without a timeout, and leaves the answer to a generation that
    is given up open until the garbage collector finds it.
    """

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401  # of httpx2
        """Send a request, and keep its answer for whoever watches."""
        request.extensions = {**request.extensions, "timeout": self.timeout.as_dict()}
        response = await super().send(request, **options)
        watching = _opened.get()
        if watching is not None:
            watching.append(response)
        return response


@contextmanager
def watched(responses: list[httpx2.Response]) -> Iterator[None]:
    """Take into `responses` what answers the requests of this block."""
    token = _opened.set(responses)
    try:
        yield
    finally:
        _opened.reset(token)


def connect(settings: ProviderSettings) -> Connections:
    """Return connections of which each wait is bounded."""
    return pool(settings, Connections)


def make_client(settings: ProviderSettings, connections: Connections) -> genai.Client:
    """Return a client without a key; each request shows its own, and none is tried twice."""
    http = types.HttpOptions(
        base_url=settings.url or None,
        api_version=settings.options.get("api_version"),
        httpx_async_client=connections,
    )
    return genai.Client(vertexai=False, api_key="none", http_options=http)


def show(secret: str) -> types.HttpOptions:
    """Return the headers that show a key."""
    return types.HttpOptions(headers={"x-goog-api-key": Hidden(secret)})


def failure_of(error: Exception) -> Failure | None:
    """Return what an error of the package means."""
    if isinstance(error, httpx2.TimeoutException):
        return Failure("it was silent for longer than it may be")
    if isinstance(error, httpx2.HTTPError):
        return Failure("the connection broke")
    if not isinstance(error, errors.APIError):
        return None
    headers = getattr(error.response, "headers", {})
    told = f"{error.details}"
    delay = _DELAY.search(told)
    return Failure(
        error.message or "",
        # A key that is none is a bad request here.
        status=401 if "API_KEY_INVALID" in told else error.code,
        code=error.status or "",
        retry_after_seconds=float(delay[1]) if delay else retry_after_seconds(headers),
    )


async def look_up(
    client: genai.Client, settings: ProviderSettings, model: str, http: types.HttpOptions
) -> Known:
    """Ask for a model, and return what is known of it then.

    Raises `ModelNotFound`, `ModelUnusable`, and what the package raises.
    """
    if not _NAME.fullmatch(model):
        raise ModelNotFound(f"{settings.name}/{model}")
    told = await client.aio.models.get(model=model, config=types.GetModelConfig(http_options=http))
    family = find_known(GEMINI, model)
    known = Known(
        told.input_token_limit or 0,
        takes_images=model.startswith("gemini-") and family is None,
        embedding_dimensions=family.embedding_dimensions if family else 0,
    )
    return told_of(settings, model, known)
