"""The payload of a bundle: an agent as the runtime executes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from jsonschema import Draft202012Validator
from pydantic import ConfigDict, Field, JsonValue
from referencing import Registry

from sandbox.ports import Code, Component, Executable

from .rules import RULES_MAX, Rule
from .workflow import Workflow

CODE_FILES_MAX = 128
CODE_BYTES_MAX = 512 * 1024

# What another agent may be asked: one text, which becomes the input of its run.
REQUEST_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"request": {"type": "string", "minLength": 1, "maxLength": 1_000}},
    "required": ["request"],
    "additionalProperties": False,
}

# A field that this release does not know could be a limit that it would not enforce.
_STRICT = ConfigDict(strict=True, extra="forbid")

Text = Annotated[str, Field(max_length=65_536)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Agent:
    """Who acts."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    version: Text
    description: Text


@dataclass(frozen=True)
class FallbackModel:
    """A model to ask when another one does not answer."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Name
    credential: Text


@dataclass(frozen=True)
class ModelChoice:
    """Which model generates, and how; what bundles of before do not say has its default."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Name
    credential: Text
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0, lt=2**53)]
    tokens_max: Annotated[int, Field(ge=1, le=32_768)]
    context_tokens: Annotated[int, Field(ge=0, lt=2**31)]
    weights_sha256: Text
    fallbacks: Annotated[tuple[FallbackModel, ...], Field(max_length=4)] = ()
    cache_seconds: Annotated[int, Field(ge=0, le=604_800)] = 0


@dataclass(frozen=True)
class ActionLimits:
    """How often an action may happen; 0 means no limit."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    per_run: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class CodeLimits:
    """How much one execution of code may use; see `sandbox.limits`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    fuel: Annotated[int, Field(ge=1, le=10**11)]
    memory_bytes: Annotated[int, Field(ge=2**20, le=512 * 2**20)]
    wall_seconds: Annotated[int, Field(ge=1, le=600)]
    host_calls: Annotated[int, Field(ge=0, le=1_000)]


@dataclass(frozen=True)
class ProgramCode:
    """The code of an action, and what it may use: capabilities that have a grant.

    It is files of Python, or `wasm`, a component in base64; then there are no files.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    main: Name
    files: Annotated[dict[str, str], Field(max_length=CODE_FILES_MAX)]
    function: Annotated[str, Field(pattern="^[a-z0-9_.-]{1,64}$")]
    capabilities: Annotated[tuple[Name, ...], Field(max_length=64)]
    grants: Annotated[tuple[ProgramAction, ...], Field(max_length=64)]
    output_schema: dict[str, JsonValue]
    limits: CodeLimits
    wasm: Annotated[bytes, Field(max_length=CODE_BYTES_MAX)] = b""

    @property
    def executable(self) -> Executable:
        """Return it as the sandbox takes it."""
        return Component(self.wasm, self.main) if self.wasm else Code(self.main, self.files)

    def grant(self, name: str) -> ProgramAction | None:
        """Return what a capability is granted as."""
        if name not in self.capabilities:
            return None
        return next((grant for grant in self.grants if grant.name == name), None)


@dataclass(frozen=True)
class ProgramAction:
    """One thing that the agent may do."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(pattern="^[a-z0-9_.-]{1,64}$")]
    program: Name
    description: Annotated[str, Field(max_length=1_024)]
    parameters_schema: dict[str, JsonValue]
    effect: Literal["read", "write"]
    credential: Text
    settings: dict[str, JsonValue]
    limits: ActionLimits
    approval: Literal["allow", "ask", "deny"]
    required: bool
    policy: Annotated[tuple[Rule, ...], Field(max_length=RULES_MAX)] = ()
    code: ProgramCode | None = None

    @cached_property
    def parameters(self) -> Draft202012Validator:
        """Return what checks arguments; a `$ref` to an address is not fetched."""
        return Draft202012Validator(self.parameters_schema, registry=Registry())

    @property
    def catalogue_name(self) -> str:
        """Return the name of its connector; empty if it comes from elsewhere."""
        return self._name_in("catalogue")

    @property
    def agent_bundle(self) -> str:
        """Return the bundle of the agent that answers; empty if none does."""
        return self._name_in("agent")

    def _name_in(self, wanted: str) -> str:
        origin, _, name = self.program.partition(":")
        return name if origin == wanted else ""


@dataclass(frozen=True)
class KnownDocument:
    """A document as it was when the agent was assembled."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    path: Name
    sha256: Digest


@dataclass(frozen=True)
class KnownCollection:
    """A collection that the agent may read."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    collection: Annotated[str, Field(pattern="^collections/[a-z0-9][a-z0-9-]{0,63}$")]
    segment: Literal["private", "public"]
    documents: Annotated[tuple[KnownDocument, ...], Field(max_length=256)]


@dataclass(frozen=True)
class Budget:
    """Gas that the agent may spend per period."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    gas: Annotated[int, Field(ge=1, le=10**15)]
    period: Literal["total", "hour", "day", "month"]
    time_zone: Annotated[str, Field(max_length=64)] = ""


@dataclass(frozen=True)
class Limits:
    """Where a run ends at the latest; `passages` are retrieved before the first step.

    `gas` is the most that it may spend with all that it calls, or 0: then only the budget counts.
    `output_tokens` is the most that its model writes, or 0 for no limit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    steps: Annotated[int, Field(ge=1, le=1_000)]
    seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3_600)]
    passages: Annotated[int, Field(ge=0, le=50)]
    gas: Annotated[int, Field(ge=0, le=10**15)] = 0
    output_tokens: Annotated[int, Field(ge=0, le=10**9)] = 0


@dataclass(frozen=True)
class Program:
    """An agent with every reference resolved."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    format: Literal["actionvm.bundle/v1"]
    agent: Agent
    model: ModelChoice
    instructions: Text
    actions: Annotated[tuple[ProgramAction, ...], Field(max_length=64)]
    knowledge: Annotated[tuple[KnownCollection, ...], Field(max_length=16)]
    budget: Budget
    limits: Limits
    # Without one, it is the loop of an agent.
    workflow: Workflow | None = None

    @property
    def account(self) -> str:
        """Return who pays."""
        return f"agents/{self.agent.name}"

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the collections that the agent may read."""
        return tuple(known.collection for known in self.knowledge)

    def action(self, name: str) -> ProgramAction | None:
        """Return the action of this name; what code was granted is `ACTION/GRANT`."""
        name, _, granted = name.partition("/")
        found = next((action for action in self.actions if action.name == name), None)
        if not granted:
            return found
        return found.code.grant(granted) if found and found.code else None
