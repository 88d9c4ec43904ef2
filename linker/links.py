"""Links: what an agent asks of a model, and the checked connection that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chassis.canonical import Json, canonical_json, sha256_hex


@dataclass(frozen=True)
class Target:
    """A model to ask, `provider/name`, and the `secrets/{id}` with its key; empty for none."""

    model: str
    credential: str = ""


@dataclass(frozen=True)
class ModelConfig:
    """What an agent asks for; `model` is `provider/name`.

    `fallbacks` are asked in their order when the model does not answer. `cache_seconds` is how long
    an answer may be given again.
    """

    model: str
    credential: str = ""
    needs_actions: bool = False
    context_tokens_min: int = 0
    fallbacks: tuple[Target, ...] = ()
    cache_seconds: int = 0
    needs_images: bool = False
    needs_answer_schema: bool = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """Return the model and its fallbacks, in the order in which they are asked."""
        return (Target(self.model, self.credential), *self.fallbacks)


@dataclass(frozen=True)
class ModelFacts:
    """What a provider knows of an open model.

    `constrains_output` promises that calls and answers satisfy their schemas. `weights_sha256` is
    empty where they are remote, `embedding_dimensions` is 0 where the model does not embed.
    """

    context_tokens: int
    takes_actions: bool
    constrains_output: bool
    weights_sha256: str = ""
    takes_images: bool = False
    gives_logprobs: bool = False
    embedding_dimensions: int = 0
    reranks: bool = False


@dataclass(frozen=True)
class WeightFacts:
    """What weights say of themselves; empty or 0 where they do not.

    `memory_bytes` estimates what they take when loaded: themselves, and the keys and values of a
    full context.
    """

    architecture: str = ""
    parameter_count: int = 0
    quantisation: str = ""
    context_tokens: int = 0
    memory_bytes: int = 0
    licence: str = ""


@dataclass(frozen=True)
class ListedModel:
    """A model that is there; `name` is `provider/name` or, inside a provider, the rest.

    `problem` says why it would not load, and is empty if nothing speaks against it.
    """

    name: str
    size_bytes: int = 0
    is_loaded: bool = False
    facts: WeightFacts = WeightFacts()
    problem: str = ""


@dataclass(frozen=True)
class Link:
    """A configuration that models were found for, with what was found of each target.

    `account` is the agent that made it last; empty where no key was needed.
    """

    config: ModelConfig
    facts: tuple[ModelFacts, ...]
    create_time: datetime
    account: str = ""

    def __post_init__(self) -> None:
        assert len(self.facts) == len(self.config.targets), "each target was found"

    @property
    def name(self) -> str:
        """Return `links/{id}`, which depends on the configuration alone."""
        return link_name(self.config)


def link_name(config: ModelConfig) -> str:
    """Return the name of the link of a configuration, the same on any machine and release."""
    return f"links/{sha256_hex(canonical_json(config_to_json(config)))[:32]}"


def config_to_json(config: ModelConfig) -> Mapping[str, Json]:
    """Return a configuration as JSON; what the first release did not know is there only if set."""
    later: dict[str, Json] = {
        "fallbacks": [[target.model, target.credential] for target in config.fallbacks],
        "cache_seconds": config.cache_seconds,
        "needs_images": config.needs_images,
        "needs_answer_schema": config.needs_answer_schema,
    }
    return {
        "model": config.model,
        "credential": config.credential,
        "needs_actions": config.needs_actions,
        "context_tokens_min": config.context_tokens_min,
        **{name: value for name, value in later.items() if value},
    }
