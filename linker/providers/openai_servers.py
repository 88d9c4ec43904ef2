"""The servers that speak like OpenAI's: how they are reached, and asked for a model."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote

import httpx2
import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI, Omit

from ..errors import ModelNotFound
from ..settings import ProviderSettings
from . import events
from .connections import timeouts
from .known import NEWER, OPENAI, Known, find_known, told_of
from .wire import Failure, Hidden, failure_of_status

Headers: TypeAlias = "dict[str, str | Omit]"

COMPATIBLE = "openai-compatible"
AZURE = "azure-openai"

# How compatible servers call the length of a context: vLLM, llama-server, OpenRouter.
_LENGTHS = ("max_model_len", "n_ctx", "context_length", "n_ctx_train")


def connect(settings: ProviderSettings, http: httpx2.AsyncClient) -> AsyncOpenAI:
    """Return a client without a key; each request shows its own, and none is tried twice."""
    timeout = timeouts(settings)
    if version := _version(settings):
        return AsyncAzureOpenAI(
            azure_endpoint=settings.url,
            api_version=version,
            api_key="none",
            max_retries=0,
            timeout=timeout,
            http_client=http,
        )
    return AsyncOpenAI(
        base_url=_base(settings),
        api_key="none",
        max_retries=0,
        timeout=timeout,
        http_client=http,
    )


def address(settings: ProviderSettings, path: str, model: str) -> str:
    """Return where a model is asked; the package has its own way to the same place."""
    if version := _version(settings):
        deployment = f"openai/deployments/{quote(model, safe='')}"
        return f"{settings.url.rstrip('/')}/{deployment}/{path}?api-version={quote(version)}"
    return f"{_base(settings).rstrip('/')}/{path}"


def _base(settings: ProviderSettings) -> str:
    if settings.kind == AZURE:
        return f"{settings.url.rstrip('/')}/openai/v1"
    return settings.url or "https://api.openai.com/v1"


def _version(settings: ProviderSettings) -> str:
    """Return which of the older interfaces of Azure is asked; empty if none is."""
    return settings.options.get("api_version", "") if settings.kind == AZURE else ""


def shown(settings: ProviderSettings, secret: str) -> dict[str, str]:
    """Return the headers that show a key."""
    if settings.kind == AZURE:
        return {"api-key": Hidden(secret)}
    return {"Authorization": Hidden(f"Bearer {secret}")} if secret else {}


def show(settings: ProviderSettings, secret: str) -> Headers:
    """Return the same for the package, which shows a key of its own unless it is told not to."""
    return {"Authorization": Omit(), **shown(settings, secret)}


def failure_of(error: Exception) -> Failure | None:
    """Return what an error of the package means, or one on the way of our own requests."""
    if isinstance(error, openai.APITimeoutError):
        return Failure("it was silent for longer than it may be")
    if isinstance(error, openai.APIConnectionError):
        return Failure("the connection broke")
    if isinstance(error, openai.APIError):
        return failure_of_status(error)
    return events.failure_of(error)


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
