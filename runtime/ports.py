"""What the runtime needs of others, by role.

Every port raises `PeerUnavailable` when its peer does not answer, and the runtime tries again until
the run's time is over. `RunFails` ends the run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from chassis.errors import InvalidArgument, PeerUnavailable

from .bundles import SealedBundle
from .conversation import ActionChoice, Message
from .facts import ActionCall, Callers, Failure, Passage, Receipt, Signature, Usage
from .program import Budget, ModelChoice, ProgramAction

# Of a connector, which is what most holds are for.
ONE_CALL = (Usage("connector_calls", 1),)


class RunFails(Exception):
    """A run cannot go on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(eq=False)
class PersonAwaited(PeerUnavailable):
    """A person has to decide before a key is used: a peer who may take a day to answer."""

    approval: str
    rule: str


@dataclass(frozen=True)
class Prompt:
    """One generation; `agent_acts` says whether any step of the agent offers actions."""

    request_id: str
    run: str
    account: str
    callers: Callers
    model: ModelChoice
    agent_acts: bool
    messages: tuple[Message, ...]
    actions: tuple[ProgramAction, ...]
    choice: ActionChoice
    # What a text has to fit, a JSON Schema as JSON text; empty for free text.
    answer_schema: str = ""


@dataclass(frozen=True)
class Generation:
    """A whole answer."""

    text: str
    calls: tuple[ActionCall, ...]
    usages: tuple[Usage, ...]
    gas: int


@dataclass(frozen=True)
class Hold:
    """Gas that is set aside for one call."""

    name: str
    gas: int


class Bundles(Protocol):
    """Where bundles come from."""

    async def get(self, name: str) -> SealedBundle:
        """Return a bundle, unchecked; raise `BundleNotFound`."""


@dataclass(eq=False)
class AnswerUnfit(InvalidArgument):
    """A model has answered, and not with what the schema of the answer allows."""

    reason = "ANSWER_UNFIT"
    message = "the answer does not fit its schema"


class Model(Protocol):
    """What generates."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        """Yield text as it is written, and the whole answer last; closing it stops the model.

        Raise `AnswerUnfit` where that is known; who asks looks at each answer anyway.
        """


class Knowledge(Protocol):
    """What finds passages."""

    async def search(
        self, collections: Sequence[str], query: str, passages_max: int
    ) -> tuple[Passage, ...]:
        """Return the passages that fit best, best first."""


class GasMeter(Protocol):
    """What counts. Every method may be repeated."""

    async def declare_budget(self, account: str, budget: Budget) -> None:
        """Limit what an account spends, in the name of its manifest."""

    async def limit_run(self, *, run: str, account: str, gas: int) -> None:
        """Limit what a run spends with all that it calls, until it is closed."""

    async def quote(self, *, item: str) -> int:
        """Return the gas of one call of a connector."""

    async def reserve(
        self,
        *,
        request_id: str,
        account: str,
        run: str,
        callers: Callers,
        item: str,
        usages: Sequence[Usage] = ONE_CALL,
    ) -> Hold:
        """Hold gas for the most that is used, of the account and of all who wait for the run."""

    async def settle(self, hold: Hold, usages: Sequence[Usage] = ONE_CALL) -> int:
        """Charge what was used; return the gas."""

    async def close(self, *, run: str, account: str) -> Receipt:
        """End the spending of a run; return its receipt, unsigned."""


Scheme: TypeAlias = Literal[
    "oauth1", "aws_sigv4", "cdp", "cdp_wallet", "basic", "bearer", "key_header", "key_url", "smtp"
]


@dataclass(frozen=True)
class WebRequest:
    """A request of a connector that is to be authenticated, as the scheme signs it.

    `scheme` is named as in the contract without its prefix: `oauth1`, `aws_sigv4`, `cdp`, `basic`.
    What a scheme does not know, it is not given.
    """

    scheme: Scheme
    method: str
    url: str
    body: bytes = b""
    # Of a body of the type `application/x-www-form-urlencoded`, and OAuth 1.0a.
    form: Mapping[str, str] = field(default_factory=dict)
    # That AWS signs as well, its region and service, and how long a URL is good for.
    headers: Mapping[str, str] = field(default_factory=dict)
    region: str = ""
    service: str = ""
    presign_seconds: int = 0
    # Of Coinbase CDP: the name of the key, and the JSON that a wallet token has the hash of.
    key_id: str = ""
    body_json: str = ""
    # Of keys that are sent as they are: what stands before one in `Authorization`, `Bearer` if
    # nothing is said; or the header that one is in. With `key_url`, the URL has `{key}` for it.
    token_type: str = ""
    key_header: str = ""


@dataclass(frozen=True)
class Authorized:
    """The headers that authenticate a request, or the URL that does so itself."""

    headers: Mapping[str, str] = field(repr=False)
    url: str = field(default="", repr=False)


@dataclass(frozen=True)
class FarcasterSignature:
    """What goes into a message of Farcaster beside its data."""

    # The first 20 bytes of BLAKE3, which Ed25519 signs.
    hash: bytes
    value: bytes
    public_key: bytes


@dataclass(frozen=True)
class SignedTransaction:
    """What a node of an EVM chain takes as it is, the hash that it has there, and who signed."""

    raw: bytes = field(repr=False)
    hash: bytes
    # In lower case.
    address: str


class Signer(Protocol):
    """What uses keys; they never come here."""

    async def bundle_key(self) -> bytes:
        """Return the public key that bundles must be signed with."""

    async def sign_receipt(self, sha256: str) -> Signature:
        """Sign the digest of a receipt."""

    async def sign_request(self, credential: str, message: bytes, *, account: str) -> Signature:
        """Sign a request of a connector with a secret that the agent names.

        Raise `PersonAwaited` where the policy of keys leaves it to a person; once that has decided,
        the same request is answered.
        """

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        """Authenticate a request of a connector, as `sign_request` signs one."""

    async def sign_farcaster(
        self, credential: str, data: bytes, *, account: str
    ) -> FarcasterSignature:
        """Sign a serialised `MessageData` of Farcaster, as `sign_request` signs a request.

        The policy of keys sees of what type it is, whose, and on which network.
        """

    async def evm_address(self, credential: str, *, account: str) -> str:
        """Return the address on EVM chains of a key, in lower case; as `sign_request`."""

    async def sign_transaction(
        self, credential: str, transaction: bytes, *, account: str
    ) -> SignedTransaction:
        """Sign a transaction (RLP, EIP-1559) of an EVM chain, as `sign_request` signs a request.

        The same bytes are signed the same. The policy of keys sees what is paid, to whom, and what
        is called.
        """

    async def hmac_sha256(self, credential: str, message: bytes, *, account: str) -> bytes:
        """Return the code (RFC 2104) of a message, by which its receiver knows whose it is."""


class Approvals(Protocol):
    """What knows how people decide about uses of keys."""

    async def is_decided(self, approval: str) -> bool:
        """Tell whether a request that asked for it can be repeated with another outcome."""

    async def decide(self, approval: str, *, allows: bool, authorization: str) -> None:
        """Decide in the name of a person, who shows `authorization`.

        Raise `ApprovalNotFound`, `ApprovalDecided` and `TokenInvalid`.
        """
