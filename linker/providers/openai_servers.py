"""The servers that speak like OpenAI's: how they are reached, and asked for a model."""

from __future__ import annotations

from typing import TypeAlias

import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI, Omit

from ..errors import ModelNotFound
from ..settings import ProviderSettings
from .connections import pool, timeouts
from .known import NEWER, OPENAI, Known, find_known, told_of
from .wire import Failure, Hidden, failure_of_status

Headers: TypeAlias = "dict[str, str | Omit]"

COMPATIBLE = "openai-compatible"
AZURE = "azure-openai"

# How compatible servers call the length of a context: vLLM, llama-server, OpenRouter.
_LENGTHS = ("max_model_len", "n_ctx", "context_length", "n_ctx_train")


def connect(settings: ProviderSettings) -> AsyncOpenAI:
    """Return a client without a key; each request shows its own, and none is tried twice."""
    http, timeout = pool(settings), timeouts(settings)
    version = settings.options.get("api_version", "")
    if settings.kind == AZURE and version:
        return AsyncAzureOpenAI(
            azure_endpoint=settings.url,
            api_version=version,
            api_key="none",
            max_retries=0,
            timeout=timeout,
            http_client=http,
        )
    url = f"{settings.url.rstrip('/')}/openai/v1" if settings.kind == AZURE else settings.url
    return AsyncOpenAI(
        base_url=url or "https://api.openai.com/v1",
        api_key="none",
        max_retries=0,
        timeout=timeout,
        http_client=http,
    )


def show(settings: ProviderSettings, secret: str) -> Headers:
    """Return the headers that show a key."""
    if settings.kind == AZURE:
        return {"api-key": Hidden(secret), "Authorization": Omit()}
    return {"Authorization": Hidden(f"Bearer {secret}") if secret else Omit()}


def failure_of(error: Exception) -> Failure | None:
    """Return what an error of the package means."""
    if isinstance(error, openai.APITimeoutError):
        return Failure("it was silent for longer than it may be")
    if isinstance(error, openai.APIConnectionError):
        return Failure("the connection broke")
    return failure_of_status(error) if isinstance(error, openai.APIError) else None


async def look_up(
    client: AsyncOpenAI, settings: ProviderSettings, model: str, headers: Headers
) -> Known:
    """Ask for a model, and return what is known of it then.

    Raises `ModelNotFound`, `ModelUnusable`, and what the package raises.
    """
    name = f"{settings.name}/{model}"
    if not model.strip("./"):
        raise ModelNotFound(name)
    known = find_known(OPENAI, _family(settings, model))
    if settings.kind == AZURE:
        await _probe(client, model, headers)
    elif settings.kind == COMPATIBLE:
        page = await client.models.list(extra_headers=headers)
        found = [one for one in page.data if one.id == model]
        if not found:
            raise ModelNotFound(name)
        known = _told(found[0].model_extra)
    else:
        await client.models.retrieve(model, extra_headers=headers)
        known = known or NEWER
    return told_of(settings, model, known)


def _family(settings: ProviderSettings, model: str) -> str:
    """Return the public model that one is, or was tuned from: `ft:gpt-4o:us::1` from `gpt-4o`."""
    told = settings.options.get("families", "").split()
    families = dict(pair.split("=", 1) for pair in told if "=" in pair)
    return families.get(model, model.removeprefix("ft:").partition(":")[0])


async def _probe(client: AsyncOpenAI, deployment: str, headers: Headers) -> None:
    """Ask a deployment for nothing: Azure lists none, refuses this, and charges nothing."""
    try:
        await client.chat.completions.create(model=deployment, messages=[], extra_headers=headers)
    except openai.BadRequestError:
        return


def _told(extra: dict[str, object] | None) -> Known:
    """Return what a compatible server tells of a model beyond what OpenAI's does."""
    meta = (extra or {}).get("meta")
    told = {**(meta if isinstance(meta, dict) else {}), **(extra or {})}
    lengths = [told[name] for name in _LENGTHS if isinstance(told.get(name), int)]
    return Known(int(f"{lengths[0]}") if lengths else 0, takes_images=False, constrains=False)
