"""The services that an assembler talks to, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assembler.ports import (
    Compiler,
    Document,
    KnownAction,
    Link,
    ModelWish,
    Peers,
    Refusal,
    Segment,
    Signature,
)
from assembler.problems import Code
from chassis.canonical import Json
from chassis.errors import ServiceError
from sandbox.errors import SandboxUnavailable
from sandbox.outcome import Described, Examined
from sandbox.ports import Executable

PASSAGE: dict[str, Json] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["text", "score"],
    "additionalProperties": False,
}
SEARCH = KnownAction(
    name="knowledge.search",
    program="catalogue:knowledge.search",
    description="Searches what the agent knows.",
    parameters_schema={
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": 256}},
        "required": ["query"],
        "additionalProperties": False,
    },
    effect="read",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
    output_schema={
        "type": "object",
        "properties": {"passages": {"type": "array", "items": PASSAGE}},
        "required": ["passages"],
        "additionalProperties": False,
    },
)
POST = KnownAction(
    name="board.post",
    program="catalogue:board.post",
    description="Posts a short text to the board.",
    parameters_schema={
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 280}},
        "required": ["text"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=True,
    settings_schema={
        "type": "object",
        "properties": {
            "url": {
                "type": "string",
                "pattern": "^https?://",
                "description": "Address of the board.",
            }
        },
        "required": ["url"],
        "additionalProperties": False,
    },
)
PAY = KnownAction(
    name="wallet.pay",
    program="catalogue:wallet.pay",
    description="Pays somebody.",
    parameters_schema={
        "type": "object",
        "properties": {
            "to": {"type": "string", "maxLength": 64},
            "amount": {"type": "integer", "minimum": 1, "maximum": 1_000},
            "wei": {"type": "string"},
            "currency": {"type": "string", "enum": ["EUR", "USD"]},
            "memo": {"type": "string"},
            "tags": {"type": "array", "maxItems": 4, "items": {"type": "string"}},
            "order": {
                "type": "object",
                "properties": {"note": {"type": "string", "minLength": 5}},
                "required": ["note"],
            },
        },
        "required": ["to", "amount", "wei", "currency", "tags", "order"],
        "additionalProperties": False,
    },
    effect="write",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
)
SCORE = Described(
    name="score",
    description="Scores a topic.",
    capabilities=("knowledge.search",),
    parameters_schema={
        "type": "object",
        "properties": {"topic": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["topic"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "additionalProperties": {"type": "integer"}},
    line=7,
)
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)


class Failing:
    """Fails once when told to."""

    _error: ServiceError | None = None

    def fail_next(self, error: ServiceError) -> None:
        """Make the next call raise."""
        self._error = error

    def _maybe_fail(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class FakeCatalogue(Failing):
    """`Catalogue` with three actions."""

    async def actions(self) -> Sequence[KnownAction]:
        """Return them."""
        self._maybe_fail()
        return [SEARCH, POST, PAY]


class FakeModels(Failing):
    """`Models` with one, `local/babbler`, which does not do when asked for a large context."""

    def __init__(self) -> None:
        self.wishes: list[ModelWish] = []
        self.seconds = 0.0

    async def link(self, wish: ModelWish) -> Link | Refusal:
        """Link it."""
        self._maybe_fail()
        await asyncio.sleep(self.seconds)
        self.wishes.append(wish)
        provider, _, model = wish.model.partition("/")
        if provider != "local":
            return Refusal(Code.PROVIDER_NOT_FOUND, f"there is no provider {provider}")
        if model == "away":
            return Refusal(Code.PROVIDER_UNAVAILABLE, "it does not answer")
        if model == "locked":
            return Refusal(Code.CREDENTIAL_REFUSED, "its key does not open it")
        if model != "babbler":
            return Refusal(Code.MODEL_NOT_FOUND, f"there is no model {model}")
        if wish.context_tokens_min > 2_048:
            return Refusal(Code.MODEL_UNUSABLE, "its context has 2048 tokens")
        return Link(context_tokens=2_048, weights_sha256="5" * 64)


class FakeSecrets(Failing):
    """`Secrets` with a set of names."""

    def __init__(self) -> None:
        self.names = {"secrets/board-key"}

    async def exists(self, name: str) -> bool:
        """Look the name up."""
        self._maybe_fail()
        return name in self.names


class FakeDocuments(Failing):
    """`Documents` by name."""

    def __init__(self) -> None:
        self.collections: dict[str, Segment] = {"collections/news": "public"}
        self.stored: dict[str, Document] = {}
        self.refusal: Refusal | None = None

    async def segments(self) -> Mapping[str, Segment]:
        """Return the segments."""
        self._maybe_fail()
        return dict(self.collections)

    async def put(self, document: Document) -> Refusal | None:
        """Store a document."""
        self._maybe_fail()
        if self.refusal is None:
            self.stored[document.name] = document
            self.collections[document.name.partition("/documents/")[0]] = document.segment
        return self.refusal


class FakeQuotes(Failing):
    """`Quotes` with a price of one for everything that is named in neither of these."""

    def __init__(self) -> None:
        self.unpriced: set[str] = set()
        self.gas_per_unit: dict[str, int] = {}

    async def quote(self, item: str, usages: Mapping[str, int]) -> int | Refusal:
        """Return the gas of all units."""
        self._maybe_fail()
        if item in self.unpriced:
            return Refusal(Code.PRICE_NOT_FOUND, f"there is no price for {item}")
        return self.gas_per_unit.get(item, 1) * sum(usages.values())


class FakeSigner(Failing):
    """`Signer` with a key that never changes."""

    async def sign(self, sha256: str) -> Signature:
        """Sign as the key manager does."""
        self._maybe_fail()
        value = SIGNING_KEY.sign(b"actionvm/bundle/v1\n" + sha256.encode())
        public_key = SIGNING_KEY.public_key().public_bytes_raw()
        return Signature("keys/bundles", "ed25519", public_key, value)


class FakeCompiler(Failing):
    """`Compiler` that knows some files by their path; `away` has those that it is not there for."""

    def __init__(self, examined: Mapping[str, Examined] | None = None) -> None:
        known = {"actions/score.py": Examined((SCORE,), fuel=1_234_567)}
        self.examined: dict[str, Examined] = {**known, **(examined or {})}
        self.away = {"actions/away.py"}
        self.codes: list[Executable] = []

    async def examine(self, code: Executable) -> Examined:
        """Look the main file up."""
        self._maybe_fail()
        if code.main in self.away:
            raise SandboxUnavailable("no worker starts")
        self.codes.append(code)
        return self.examined.get(code.main, Examined())


@dataclass
class FakePeers:
    """All of them, each to be told what to do."""

    catalogue: FakeCatalogue = field(default_factory=FakeCatalogue)
    models: FakeModels = field(default_factory=FakeModels)
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    documents: FakeDocuments = field(default_factory=FakeDocuments)
    quotes: FakeQuotes = field(default_factory=FakeQuotes)
    signer: FakeSigner = field(default_factory=FakeSigner)
    compiler: Compiler = field(default_factory=FakeCompiler)

    def ports(self) -> Peers:
        """Return them as the assembler takes them."""
        return Peers(
            catalogue=self.catalogue,
            models=self.models,
            secrets=self.secrets,
            documents=self.documents,
            quotes=self.quotes,
            signer=self.signer,
            compiler=self.compiler,
        )
