"""What public models can do that their providers' interfaces do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import ModelUnusable
from ..settings import ModelSettings, ProviderSettings
from .bytepairs import CL100K, O200K


@dataclass(frozen=True)
class Known:
    """A family of models.

    `samples` if temperature and its kind may be set, `constrains` if output can be held to a
    schema. `embedding_dimensions` is 0 for models that talk. `encoding` is how tiktoken cuts what
    they read, if it does.
    """

    context_tokens: int
    takes_images: bool = True
    samples: bool = True
    constrains: bool = True
    embedding_dimensions: int = 0
    encoding: str = ""


_THINKS = Known(200_000, samples=False)
_OLD = Known(8_192, takes_images=False, constrains=False)

# Of a model that came after this table, the operator writes how long its context is.
NEWER = Known(0, samples=False)

# By the longest beginning of the name. From the pages of the models, November 2026:
# https://platform.openai.com/docs/models, https://platform.openai.com/docs/guides/embeddings.
# A model that is not here is told of in the settings: a wrong length is worse than none.
_OPENAI: Mapping[str, Known] = {
    "gpt-3.5-turbo": Known(16_385, takes_images=False, constrains=False),
    "gpt-4": _OLD,
    "gpt-4-32k": Known(32_768, takes_images=False, constrains=False),
    "gpt-4-turbo": Known(128_000, constrains=False),
    "gpt-4o": Known(128_000),
    "chatgpt-4o": Known(128_000),
    "gpt-4.1": Known(1_047_576),
    "o1": _THINKS,
    "o3": _THINKS,
    "o3-mini": Known(200_000, takes_images=False, samples=False),
    "o4-mini": _THINKS,
    "gpt-5": Known(400_000, samples=False),
    "gpt-5-chat": Known(128_000),
    "gpt-5.1": Known(400_000, samples=False),
    "gpt-5.1-chat": Known(128_000),
    "gpt-5.2": Known(400_000, samples=False),
    "gpt-5.2-chat": Known(128_000),
    "gpt-5.4": Known(1_050_000, samples=False),
    "gpt-5.4-mini": Known(400_000, samples=False),
    "gpt-5.4-nano": Known(400_000, samples=False),
    "text-embedding-3-small": Known(8_191, takes_images=False, embedding_dimensions=1_536),
    "text-embedding-3-large": Known(8_191, takes_images=False, embedding_dimensions=3_072),
    "text-embedding-ada-002": Known(8_191, takes_images=False, embedding_dimensions=1_536),
}
# Models that talk are cut by the later encoding, but for these, from
# https://github.com/openai/tiktoken/blob/main/tiktoken/model.py.
_EARLIER = {"gpt-3.5-turbo", "gpt-4", "gpt-4-32k", "gpt-4-turbo"}
OPENAI: Mapping[str, Known] = {
    name: known
    if known.embedding_dimensions
    else replace(known, encoding=CL100K if name in _EARLIER else O200K)
    for name, known in _OPENAI.items()
}

# Claude models that take a temperature and its kind; later ones choose for themselves.
# Everything else Anthropic tells: https://platform.claude.com/docs/en/about-claude/models.
CLAUDE: Mapping[str, Known] = {
    name: Known(200_000)
    for name in (
        "claude-3",
        "claude-haiku-4-5",
        "claude-opus-4",
        "claude-sonnet-4",
    )
} | {name: Known(200_000, samples=False) for name in ("claude-opus-4-7", "claude-opus-4-8")}

# Gemini tells the length of a context, but not of a vector: https://ai.google.dev/gemini-api/docs.
GEMINI: Mapping[str, Known] = {
    "gemini-embedding": Known(2_048, takes_images=False, embedding_dimensions=3_072),
    "text-embedding-004": Known(2_048, takes_images=False, embedding_dimensions=768),
}


def find_known(table: Mapping[str, Known], model: str) -> Known | None:
    """Return the family of a model: the longest name that is a whole part of its beginning."""
    found = [name for name in table if model == name or model.startswith(f"{name}-")]
    return table[max(found, key=len)] if found else None


def told_of(settings: ProviderSettings, model: str, known: Known | None) -> Known:
    """Return what is known of a model once its operator was heard. Raises `ModelUnusable`."""
    found = overlaid(known, settings.models.get(model, ModelSettings()))
    if settings.options.get("constrains_output") == "true":
        found = replace(found, constrains=True)
    if not found.context_tokens:
        problem = "how long its context is cannot be asked: write context_tokens for it"
        raise ModelUnusable(f"{settings.name}/{model}", f"{problem} into the file of providers")
    return found


def overlaid(known: Known | None, settings: ModelSettings) -> Known:
    """Return what is known of a model; what the operator says counts before what we know."""
    base = known or Known(0, takes_images=False, constrains=False)
    return Known(
        context_tokens=settings.context_tokens or base.context_tokens,
        takes_images=base.takes_images if settings.takes_images is None else settings.takes_images,
        samples=base.samples,
        constrains=base.constrains,
        embedding_dimensions=settings.embedding_dimensions or base.embedding_dimensions,
        encoding=base.encoding,
    )
