"""How Anthropic, or a server like it, is reached, and asked for a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import anthropic
import httpx2
from anthropic import AsyncAnthropic, Omit

from ..errors import ModelNotFound
from ..settings import ModelSettings, ProviderSettings
from .connections import pool, timeouts
from .known import CLAUDE, Known, find_known, told_of
from .wire import Failure, Hidden, failure_of_status

Headers: TypeAlias = "dict[str, str | Omit]"

# Errors in the middle of an answer have a word and no status.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
_OK = 200


def failure_of(error: Exception) -> Failure | None:
    """Return what an error of the package means."""
    if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
        return Failure("it was silent for longer than it may be")
    if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
        return Failure("the connection broke")
    if not isinstance(error, anthropic.APIError):
        return None
    failure = failure_of_status(error)
    if failure.status == _OK:
        return replace(failure, status=_STATUS.get(failure.code, 500))
    return failure


def connect(settings: ProviderSettings) -> AsyncAnthropic:
    """Return a client without a key; each request shows its own, and none is tried twice."""
    return AsyncAnthropic(
        base_url=settings.url or "https://api.anthropic.com",
        api_key="none",
        max_retries=0,
        timeout=timeouts(settings),
        open_telemetry=False,
        http_client=pool(settings),
    )


def show(secret: str) -> Headers:
    """Return the headers that show a key."""
    return {"X-Api-Key": Hidden(secret), "Authorization": Omit()}


async def look_up(
    client: AsyncAnthropic, settings: ProviderSettings, model: str, headers: Headers
) -> Known:
    """Ask for a model, and return what is known of it then.

    Raises `ModelNotFound`, `ModelUnusable`, and what the package raises.
    """
    if not model.strip("./"):
        raise ModelNotFound(f"{settings.name}/{model}")
    written = settings.models.get(model, ModelSettings())
    if settings.url and written.context_tokens:
        # Servers of others do not tell of their models in Anthropic's way: the operator knows.
        return told_of(settings, model, None)
    told = await client.models.retrieve(model, extra_headers=headers)
    can = told.capabilities
    known = Known(
        told.max_input_tokens or 0,
        takes_images=can is not None and can.image_input.supported,
        constrains=can is not None and can.structured_outputs.supported,
        samples=_samples(model),
    )
    return told_of(settings, model, known)


def _samples(model: str) -> bool:
    """Tell whether a model takes a temperature; those of others do."""
    known = find_known(CLAUDE, model)
    return known.samples if known else not model.startswith("claude-")
