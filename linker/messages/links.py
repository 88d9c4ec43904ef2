"""Models and links in messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.linker.v1 import linker_pb2
from chassis import fields
from chassis.errors import InvalidField

from ..links import Link, ListedModel, ModelConfig, Target

MODEL_BYTES_MAX = 128
CONTEXT_TOKENS_MAX = 2**31 - 1
FALLBACKS_MAX = 4
CACHE_SECONDS_MAX = 7 * 24 * 3_600

# Without `*`, which is a wildcard in the price table of gas.
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}/[!-)+-~]+")
_LINK_NAME = re.compile(r"links/[0-9a-f]{32}")


def link_name(field: str, value: str) -> str:
    """Return the name of a link, or refuse it."""
    return fields.require_match(field, value, _LINK_NAME, example=f"links/{'0' * 32}")


def config_from_proto(config: linker_pb2.ModelConfig) -> ModelConfig:
    """Return what an agent asks of a model, or refuse it."""
    fields.require_range(
        "config.context_tokens_min", config.context_tokens_min, least=0, most=CONTEXT_TOKENS_MAX
    )
    fields.require_range(
        "config.cache_seconds", config.cache_seconds, least=0, most=CACHE_SECONDS_MAX
    )
    fields.require_size("config.fallbacks", config.fallbacks, size_min=0, size_max=FALLBACKS_MAX)
    first = _target_from_proto("config", config)
    targets = [first]
    for index, fallback in enumerate(config.fallbacks):
        target = _target_from_proto(f"config.fallbacks[{index}]", fallback)
        if target in targets:
            raise InvalidField(f"config.fallbacks[{index}]", "came before; it would fail again")
        targets.append(target)
    return ModelConfig(
        model=first.model,
        credential=first.credential,
        needs_actions=config.needs_actions,
        context_tokens_min=config.context_tokens_min,
        fallbacks=tuple(targets[1:]),
        cache_seconds=config.cache_seconds,
        needs_images=config.needs_images,
        needs_answer_schema=config.needs_answer_schema,
    )


def _target_from_proto(field: str, target: linker_pb2.ModelConfig | linker_pb2.Fallback) -> Target:
    fields.require_size(f"{field}.model", target.model, size_max=MODEL_BYTES_MAX)
    fields.require_match(f"{field}.model", target.model, _MODEL_NAME, example="local/babbler")
    if target.credential:
        fields.require_match(
            f"{field}.credential",
            target.credential,
            fields.SECRET_NAME,
            example="secrets/model-key",
        )
    return Target(target.model, target.credential)


def account_from_proto(account: str, config: ModelConfig) -> str:
    """Return on whose behalf keys are released, or refuse it; empty where none are needed."""
    if not account and not any(target.credential for target in config.targets):
        return ""
    return fields.require_match("account", account, fields.ACCOUNT_NAME, example="agents/brief")


def link_to_proto(link: Link, failing: Sequence[bool]) -> linker_pb2.Link:
    """Return a link, and which of its targets do not answer."""
    create_time = Timestamp()
    create_time.FromDatetime(link.create_time)
    first = link.facts[0]
    return linker_pb2.Link(
        name=link.name,
        model=link.config.model,
        context_tokens=min(facts.context_tokens for facts in link.facts),
        takes_actions=all(facts.takes_actions for facts in link.facts),
        constrains_output=all(facts.constrains_output for facts in link.facts),
        health=_health(is_failing=all(failing)),
        weights_sha256=first.weights_sha256,
        create_time=create_time,
        targets=[
            linker_pb2.Target(
                model=target.model,
                health=_health(is_failing=is_failing),
                context_tokens=facts.context_tokens,
            )
            for target, facts, is_failing in zip(
                link.config.targets, link.facts, failing, strict=True
            )
        ],
        takes_images=all(facts.takes_images for facts in link.facts),
        embedding_dimensions=first.embedding_dimensions,
        reranks=first.reranks,
    )


def _health(*, is_failing: bool) -> linker_pb2.Link.Health.ValueType:
    return linker_pb2.Link.HEALTH_FAILING if is_failing else linker_pb2.Link.HEALTH_READY


def model_to_proto(model: ListedModel) -> linker_pb2.Model:
    """Return a model that could be linked."""
    return linker_pb2.Model(
        name=model.name,
        size_bytes=model.size_bytes,
        loaded=model.is_loaded,
        problem=model.problem,
        **vars(model.facts),
    )
