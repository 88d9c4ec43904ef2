"""What a manifest may say; the JSON Schema for editors and the checks both come from here.

`description` and the first of `examples` of a field are what an author reads when it is wrong.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from .actions import SEMVER, Action
from .part import Id, Part, SafePath, seconds_of
from .rules import TimeZone
from .workflow import Workflow

TIMEOUT_SECONDS_MAX = 24 * 3_600
# As the linker has them.
CACHE_SECONDS_MAX = 7 * 24 * 3_600
FALLBACKS_MAX = 4
# What a search may ask for, and what one generation may offer.
COLLECTIONS_MAX = 16
ACTIONS_MAX = 64
DOCUMENTS_MAX = 256


def manifest_schema() -> str:
    """Return the JSON Schema of a manifest, draft 2020-12, as JSON text."""
    schema = Manifest.model_json_schema(by_alias=True)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps({"$schema": dialect, **schema}, indent=2)


def _refuse(_: JsonValue) -> NoReturn:
    raise PydanticCustomError("NOT_SUPPORTED_YET", "is not supported yet")


def _check_timeout(timeout: str) -> str:
    if seconds_of(timeout) > TIMEOUT_SECONDS_MAX:
        raise PydanticCustomError("OUT_OF_RANGE", "is more than 24h")
    return timeout


def _check_cache(cache: str) -> str:
    if cache and seconds_of(cache) > CACHE_SECONDS_MAX:
        raise PydanticCustomError("OUT_OF_RANGE", "is more than 168h")
    return cache


# An editor refuses it as well.
_NotYet = Annotated[JsonValue, BeforeValidator(_refuse), WithJsonSchema({"not": {}})]


class Parameter(Part):
    """A value that whoever uses the template may set: one text, number or truth value."""

    type: Literal["string", "integer", "number", "boolean"] = Field(
        description="what it is", examples=["string"]
    )
    default: JsonValue = Field(default=None, description="its value unless it is set")
    description: str = Field(default="", max_length=1_024, description="what it is for")
    enum: list[JsonValue] = Field(default=[], max_length=64, description="the values it may have")
    minimum: float = Field(default=0, description="its least value")
    maximum: float = Field(default=0, description="its greatest value")
    min_length: int = Field(default=0, ge=0, alias="minLength", description="its least length")
    max_length: int = Field(default=0, ge=0, alias="maxLength", description="its greatest length")


class Metadata(Part):
    """What people call the agent."""

    name: str = Field(
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        description="the name of the agent, at most 63 of `a-z`, `0-9` and `-`",
        examples=["market-brief"],
    )
    version: str = Field(
        max_length=64,
        pattern=f"^{SEMVER}$",
        description="a semantic version, in quotes if it looks like a number",
        examples=["1.0.0"],
    )
    description: str = Field(default="", max_length=1_024, description="what it does")


class Fallback(Part):
    """A model to ask when another one does not answer."""

    use: str = Field(
        max_length=128,
        pattern="^[a-z0-9][a-z0-9-]*/[A-Za-z0-9][A-Za-z0-9._:/-]*$",
        description="provider and model",
        examples=["local/actionvm-tiny"],
    )
    credential: Id = Field(
        default="",
        description="the name of the secret with the provider's key",
        examples=["openai"],
    )


class Model(Fallback):
    """Which model the agent uses, and how."""

    temperature: float = Field(
        default=0.2, ge=0, le=2, description="how freely it chooses", examples=[0.2]
    )
    top_p: float = Field(
        default=1, gt=0, le=1, description="how much of the likeliest it chooses from", examples=[1]
    )
    seed: int = Field(default=1, ge=0, le=2**53 - 1, description="seed of its dice", examples=[1])
    tokens_max: int = Field(
        default=256, ge=1, le=32_768, description="most tokens of one answer", examples=[256]
    )
    fallbacks: list[Fallback] = Field(
        default=[],
        max_length=FALLBACKS_MAX,
        description="models to ask, in order, when this one does not answer",
        examples=[[{"use": "anthropic/claude-sonnet-5", "credential": "anthropic"}]],
    )
    cache: Annotated[str, AfterValidator(_check_cache)] = Field(
        default="",
        pattern="^([1-9][0-9]{0,5}[smh])?$",
        description="how long an answer may be given again to the same request, at most 168h",
        examples=["1h"],
    )


class KnownCollection(Part):
    """A collection that the agent may read, and the documents that come with the agent."""

    collection: Id = Field(description="the name of a collection", examples=["market"])
    documents: list[SafePath] = Field(
        default=[],
        max_length=DOCUMENTS_MAX,
        description="files to put into it",
        examples=[["knowledge/week.md"]],
    )
    collect: _NotYet = Field(default=None, description="sources to collect; not supported yet")


class Knowledge(Part):
    """What the agent knows."""

    private: list[KnownCollection] = Field(
        default=[],
        max_length=COLLECTIONS_MAX,
        description="collections for agents that declare them",
        examples=[[{"collection": "market"}]],
    )
    public: list[KnownCollection] = Field(
        default=[],
        max_length=COLLECTIONS_MAX,
        description="collections for every agent",
        examples=[[{"collection": "market"}]],
    )


class Budget(Part):
    """What the agent may spend."""

    gas: int = Field(
        ge=1,
        le=10**15,
        description="gas for each period; an agent that may spend nothing cannot run",
        examples=[50_000],
    )
    per: Literal["hour", "day", "month", "total"] = Field(
        description="the period after which the budget renews", examples=["day"]
    )
    timezone: TimeZone = Field(
        default="UTC",
        description="the IANA time zone in which hours, days and months begin",
        examples=["Europe/Berlin"],
    )


class Limits(Part):
    """Where a run ends at the latest."""

    steps: int = Field(
        default=8, ge=1, le=100, description="most answers of the model", examples=[8]
    )
    timeout: Annotated[str, AfterValidator(_check_timeout)] = Field(
        default="2m",
        pattern="^[1-9][0-9]{0,5}[smh]$",
        description="longest time of a run, at most 24h",
        examples=["2m"],
    )
    passages: int = Field(
        default=3, ge=1, le=50, description="passages to look up before it starts", examples=[3]
    )
    gas: int = Field(
        default=0,
        ge=1,
        le=10**15,
        description="most gas of one run, with all that it calls; without it, the budget",
        examples=[5_000],
    )
    output_tokens: int = Field(
        default=0,
        ge=1,
        le=10**9,
        description="most tokens that its model writes in one run; without it, steps limit them",
        examples=[4_000],
    )


class Spec(Part):
    """What the agent is."""

    model: Model = Field(
        description="the model that it uses", examples=[{"use": "local/actionvm-tiny"}]
    )
    instructions: str = Field(
        min_length=1,
        max_length=65_536,
        description="what it is told to do",
        examples=["Summarise."],
    )
    actions: list[Action] = Field(
        default=[],
        max_length=ACTIONS_MAX,
        description="what it may do",
        examples=[[{"use": "knowledge.search"}]],
    )
    knowledge: Knowledge = Field(
        default=Knowledge(),
        description="what it knows",
        examples=[{"private": [{"collection": "market"}]}],
    )
    budget: Budget = Field(
        description="the gas that it may spend", examples=[{"gas": 50_000, "per": "day"}]
    )
    limits: Limits = Field(
        default=Limits(), description="where a run ends", examples=[{"steps": 8, "timeout": "2m"}]
    )
    workflow: Workflow | None = Field(
        default=None,
        description="steps that it takes instead of what its model decides",
        examples=[{"steps": [{"id": "write", "model": "Write."}], "output": "steps.write.output"}],
    )
    triggers: _NotYet = Field(default=None, description="when it runs; not supported yet")


class Manifest(Part):
    """An agent, or a template of agents."""

    model_config = ConfigDict(title="ActionVM manifest")

    api_version: Literal["actionvm/v1"] = Field(
        alias="apiVersion", description="the version of this format", examples=["actionvm/v1"]
    )
    kind: Literal["Agent", "Template"] = Field(
        description="an agent, or a template with parameters", examples=["Agent"]
    )
    parameters: dict[str, Parameter] = Field(
        default={},
        max_length=64,
        description="what may be set in a template",
        examples=[{"url": {"type": "string"}}],
    )
    metadata: Metadata = Field(
        description="name and version", examples=[{"name": "market-brief", "version": "1.0.0"}]
    )
    spec: Spec = Field(description="model, instructions and budget, and what else the agent is")
