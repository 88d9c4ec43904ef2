"""Models and links in messages."""

from __future__ import annotations

import re

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.linker.v1 import linker_pb2
from chassis import fields

from ..links import Link, ListedModel, ModelConfig

MODEL_BYTES_MAX = 128
CONTEXT_TOKENS_MAX = 2**31 - 1

# Without `*`, which is a wildcard in the price table of gas.
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}/[!-)+-~]+")
_LINK_NAME = re.compile(r"links/[0-9a-f]{32}")


def link_name(field: str, value: str) -> str:
    """Return the name of a link, or refuse it."""
    return fields.require_match(field, value, _LINK_NAME, example=f"links/{'0' * 32}")


def config_from_proto(config: linker_pb2.ModelConfig) -> ModelConfig:
    """Return what an agent asks of a model, or refuse it."""
    fields.require_size("config.model", config.model, size_max=MODEL_BYTES_MAX)
    fields.require_match("config.model", config.model, _MODEL_NAME, example="local/babbler")
    if config.credential:
        fields.require_match(
            "config.credential",
            config.credential,
            fields.SECRET_NAME,
            example="secrets/model-key",
        )
    fields.require_range(
        "config.context_tokens_min",
        config.context_tokens_min,
        least=0,
        most=CONTEXT_TOKENS_MAX,
    )
    return ModelConfig(
        model=config.model,
        credential=config.credential,
        needs_actions=config.needs_actions,
        context_tokens_min=config.context_tokens_min,
    )


def link_to_proto(link: Link, *, is_failing: bool) -> linker_pb2.Link:
    """Return a link, and whether its model answers."""
    create_time = Timestamp()
    create_time.FromDatetime(link.create_time)
    health = linker_pb2.Link.HEALTH_FAILING if is_failing else linker_pb2.Link.HEALTH_READY
    return linker_pb2.Link(
        name=link.name,
        model=link.config.model,
        context_tokens=link.facts.context_tokens,
        takes_actions=link.facts.takes_actions,
        constrains_output=link.facts.constrains_output,
        health=health,
        weights_sha256=link.facts.weights_sha256,
        create_time=create_time,
    )


def model_to_proto(model: ListedModel) -> linker_pb2.Model:
    """Return a model that could be linked."""
    return linker_pb2.Model(
        name=model.name,
        size_bytes=model.size_bytes,
        loaded=model.is_loaded,
        problem=model.problem,
        **vars(model.facts),
    )
