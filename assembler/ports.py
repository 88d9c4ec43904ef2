"""What the assembler needs of others, by role.

Each of them may raise `PeerUnavailable`. What a manifest is to blame for comes as a `Refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import sandbox.outcome
import sandbox.ports
from chassis.canonical import Json
from chassis.problems import Flaw

from .problems import Code

Effect: TypeAlias = Literal["read", "write"]
Segment: TypeAlias = Literal["private", "public"]


@dataclass(frozen=True)
class Refusal:
    """Why another service does not do what a manifest asks for."""

    code: Code | Flaw
    message: str


@dataclass(frozen=True)
class KnownAction:
    """Something that an agent can do; its schemas are JSON Schemas.

    `program` is what the runtime executes: `catalogue:{name}`, or `agent:bundles/{sha256}`.
    """

    name: str
    program: str
    description: str
    parameters_schema: Mapping[str, Json]
    effect: Effect
    needs_credential: bool
    settings_schema: Mapping[str, Json]
    # What a call that succeeded gives; empty where nobody knows.
    output_schema: Mapping[str, Json] = field(default_factory=dict)


class Catalogue(Protocol):
    """Knows the actions that come with the runtime."""

    async def actions(self) -> Sequence[KnownAction]:
        """Return all of them."""


@dataclass(frozen=True)
class ModelWish:
    """What an agent asks of a model; `credential` is `secrets/{id}`, or empty.

    `account` is the agent, on whose behalf keys are released; `fallbacks` are models with their
    credentials.
    """

    model: str
    credential: str
    needs_actions: bool
    context_tokens_min: int
    account: str = ""
    fallbacks: tuple[tuple[str, str], ...] = ()
    cache_seconds: int = 0
    needs_answer_schema: bool = False


@dataclass(frozen=True)
class Link:
    """A model that answers; the digest of its weights is empty if they are elsewhere."""

    context_tokens: int
    weights_sha256: str


class Models(Protocol):
    """Connects to language models."""

    async def link(self, wish: ModelWish) -> Link | Refusal:
        """Connect to a model, which may take minutes; linking again is cheap."""


class Secrets(Protocol):
    """Knows which secrets exist, never what is in them."""

    async def exists(self, name: str) -> bool:
        """Return whether there is a `secrets/{id}`."""


@dataclass(frozen=True)
class Document:
    """A text for a collection; `name` is `collections/{id}/documents/{path}`."""

    name: str
    text: str
    segment: Segment


class Documents(Protocol):
    """Keeps documents in collections."""

    async def segments(self) -> Mapping[str, Segment]:
        """Return the segment of every `collections/{id}`."""

    async def put(self, document: Document) -> Refusal | None:
        """Add or replace a document; putting the same again changes nothing."""


class Quotes(Protocol):
    """Prices worst cases."""

    async def quote(self, item: str, usages: Mapping[str, int]) -> int | Refusal:
        """Return the gas for an item, such as `action board.post`, and usages by meter."""


class Compiler(Protocol):
    """Lets code describe itself, where it can do no harm."""

    async def examine(self, code: sandbox.ports.Executable) -> sandbox.outcome.Examined:
        """Compile code; raise `SandboxUnavailable` of the sandbox."""


@dataclass(frozen=True)
class Signature:
    """A signature over the digest of a bundle; `key` is `keys/{id}`, the rest is raw."""

    key: str
    algorithm: str
    public_key: bytes
    value: bytes


class Signer(Protocol):
    """Signs bundles with a key that it never hands out."""

    async def sign(self, sha256: str) -> Signature:
        """Return the signature over the digest of a bundle."""


@dataclass(frozen=True)
class Peers:
    """All that an assembly talks to."""

    catalogue: Catalogue
    models: Models
    secrets: Secrets
    documents: Documents
    quotes: Quotes
    signer: Signer
    compiler: Compiler
