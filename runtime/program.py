"""The payload of a bundle as the runtime executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jsonschema import Draft202012Validator, SchemaError
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from referencing import Registry

from chassis.canonical import sha256_hex
from chassis.fields import BUNDLE_NAME

from .connectors import Connector
from .errors import BundleInvalid
from .facts import Signature
from .rules import RULES_MAX, Rule
from .workflow import Workflow, problem_of

BUNDLE_KEY = "keys/bundles"
PAYLOAD_BYTES_MAX = 1024 * 1024

# What another agent may be asked: one text, which becomes the input of its run.
REQUEST_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"request": {"type": "string", "minLength": 1, "maxLength": 1_000}},
    "required": ["request"],
    "additionalProperties": False,
}

_SIGNED_PREFIX = b"actionvm/bundle/v1\n"
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
        """Return the action of this name."""
        return next((action for action in self.actions if action.name == name), None)


@dataclass(frozen=True)
class SealedBundle:
    """A bundle as it came; nothing in it is trusted yet."""

    name: str
    sha256: str
    size_bytes: int
    payload: bytes
    signature: Signature


def open_bundle(sealed: SealedBundle, public_key: bytes) -> Program:
    """Check that the owner of `public_key` signed exactly this, and read it.

    The key that the bundle carries proves nothing: whoever forges a bundle signs it with theirs.
    Raise `BundleInvalid` with the first thing that does not fit.
    """
    sha256 = sha256_hex(sealed.payload)
    signature = sealed.signature
    checks = {
        f"payload is over {PAYLOAD_BYTES_MAX} bytes": len(sealed.payload) <= PAYLOAD_BYTES_MAX,
        "digest does not fit payload": sealed.sha256 == sha256,
        "digest.size_bytes does not fit payload": sealed.size_bytes == len(sealed.payload),
        "name does not fit digest": sealed.name == f"bundles/{sha256}",
        f"signature.key is not {BUNDLE_KEY}": signature.key == BUNDLE_KEY,
        "signature.algorithm is not ed25519": signature.algorithm == "ed25519",
        "signature.public_key is not that of the key manager": signature.public_key == public_key,
        "signature does not fit digest": _is_signed(sha256, signature.value, public_key),
    }
    for problem, fits in checks.items():
        if not fits:
            raise BundleInvalid(problem)
    return read_program(sealed.payload)


def read_program(payload: bytes) -> Program:
    """Read a payload whose signature was checked, or raise `BundleInvalid`."""
    try:
        program = _PROGRAM.validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "payload"
        raise BundleInvalid(f"{path}: {first['msg']}") from error
    names = [action.name for action in program.actions]
    if len(names) != len(set(names)):
        raise BundleInvalid("two actions have one name")
    for action in program.actions:
        if action.required and action.approval == "deny":
            raise BundleInvalid(f"action {action.name} is required and denied")
        _require_rules(action)
    if program.workflow:
        told = problem_of(
            program.workflow, actions=frozenset(names), generations_max=program.limits.steps
        )
        if told:
            raise BundleInvalid(f"workflow: {told}")
    return program


def require_connectors(program: Program, connectors: Mapping[str, Connector]) -> None:
    """Refuse a program whose actions this runtime cannot perform as it describes them.

    Other agents are looked at when they are called: each has a bundle and a signature of its own.
    """
    for action in program.actions:
        if action.agent_bundle:
            _require_request(action)
            continue
        connector = connectors.get(action.catalogue_name)
        if connector is None:
            raise BundleInvalid(f"action {action.name}: no {action.program} in this runtime")
        descriptor = connector.descriptor
        if action.effect != descriptor.effect:
            raise BundleInvalid(f"action {action.name}: its effect is {descriptor.effect}")
        if descriptor.needs_credential and not action.credential:
            raise BundleInvalid(f"action {action.name}: it needs a credential")
        _require_schema(action)
        settings = Draft202012Validator(descriptor.settings_schema, registry=Registry())
        problem = next(settings.iter_errors(action.settings), None)
        if problem is not None:
            raise BundleInvalid(f"action {action.name}: settings: {problem.message[:200]}")


def _require_request(action: ProgramAction) -> None:
    """Refuse a call of an agent that takes anything but a text."""
    if not BUNDLE_NAME.fullmatch(action.agent_bundle):
        raise BundleInvalid(f"action {action.name}: {action.program[:100]} is not a bundle")
    if action.parameters_schema != REQUEST_SCHEMA:
        raise BundleInvalid(f"action {action.name}: parameters_schema is not that of an agent")
    if action.credential or action.settings:
        raise BundleInvalid(f"action {action.name}: an agent takes no credential and no settings")


def _require_rules(action: ProgramAction) -> None:
    """Refuse rules that say nothing, or that could not be told apart when they count."""
    rules = action.policy
    if len(rules) != len({rule.name for rule in rules}):
        raise BundleInvalid(f"action {action.name}: two rules have one name")
    for rule in rules:
        if problem := rule.problem():
            raise BundleInvalid(f"action {action.name}: rule {rule.name}: {problem}")


def _require_schema(action: ProgramAction) -> None:
    try:
        # The formats include that of regular expressions, which would otherwise fail in a run.
        Draft202012Validator.check_schema(
            action.parameters_schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    except SchemaError as error:
        problem = f"action {action.name}: parameters_schema: {error.message[:200]}"
        raise BundleInvalid(problem) from error


def _is_signed(sha256: str, value: bytes, public_key: bytes) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(value, _SIGNED_PREFIX + sha256.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


_PROGRAM = TypeAdapter(Program)
