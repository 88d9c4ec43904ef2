"""What the linker needs of others: models that generate, a hub of weights, a meter that is paid."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

from .conversation import Conversation, Delta, Finished, Prompt, Tokens
from .embedding import Embedded, Ranked
from .links import ListedModel, ModelFacts
from .progress import Report
from .tokens import Count


class OpenModel(Protocol):
    """A model that is ready to answer."""

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return how many tokens the model would read; None if its provider cannot count them."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield deltas, then `Finished`; stop the work of the provider once this is closed.

        The first delta comes when the model has read the prompt. Until then this may raise
        `QueueFull` and `SchemaUnsupported`. The caller has made sure that everything fits into the
        context, as far as tokens can be counted here. A remote provider tries once, and raises
        `CredentialRefused`, `ModelNotFound`, `ModelRefused`, `ContextExceeded`, `RateLimited` and
        `ProviderUnavailable`; the last two may also come after some deltas. What the provider
        cannot do of a prompt, such as logprobs, it leaves out or refuses as its class says.
        """

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return unit vectors. Raises what `generate` raises; `ModelUnusable` if it cannot."""

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Return how relevant documents are to a query; errors as for `embed`."""


class Key(Protocol):
    """A key of a provider that is used, and not kept."""

    async def value(self) -> str:
        """Return the key as it is now; it may have been rotated since. Raises `CredentialRefused`.

        Whoever asks spends it on one request, and keeps no copy.
        """


@dataclass(frozen=True)
class Lease:
    """A key that was released for a time; `version` rises when the secret is rotated."""

    name: str
    secret: str
    version: int
    expire_time: datetime
    value: str = field(repr=False)


class Keys(Protocol):
    """Where keys of providers come from. Answers in bounded time."""

    async def release(self, secret: str, account: str) -> Lease:
        """Return a key on behalf of an agent. Raises `CredentialRefused` and `PeerUnavailable`."""

    async def renew(self, lease: Lease) -> Lease | None:
        """Return a lease with a later end; None if another release is needed, as after a rotation.

        Errors as for `release`.
        """

    async def revoke(self, lease: str) -> None:
        """End a lease; one that is over is not an error. Raises `PeerUnavailable`."""


class Provider(Protocol):
    """Where models come from; models are named without the provider here."""

    async def models(self) -> Sequence[ListedModel]:
        """Return the models that could be opened without a key, by name."""

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model. Opening again is cheap: what is known of the model is kept.

        The model is checked with its provider when it is first opened. Raises `ModelNotFound`,
        `ModelUnusable`, `CredentialRefused` and `ProviderUnavailable`.
        """

    async def close(self) -> None:
        """Give back connections, threads and memory."""


@dataclass(frozen=True)
class Caller:
    """A run that waits for the one that generates, and the account that pays with it."""

    account: str
    run: str


@dataclass(frozen=True)
class Reservation:
    """The worst case of one generation, and who pays for it; callers are outermost first."""

    request_id: str
    account: str
    run: str
    callers: tuple[Caller, ...]
    item: str
    worst: Tokens


@dataclass(frozen=True)
class Hold:
    """Gas that is set aside; `is_released` if it was given back before."""

    name: str
    is_released: bool = False


class GasMeter(Protocol):
    """Holds gas before a generation, and charges it after. Answers in bounded time."""

    async def quote(self, item: str, used: Tokens) -> int:
        """Return what it would cost. Raises `PriceNotFound` and `PeerUnavailable`."""

    async def reserve(self, reservation: Reservation) -> Hold:
        """Return the hold; the same request id gives the same hold, as it is now.

        Raises `BudgetExceeded`, `GasRefused`, `RequestIdReused` and `PeerUnavailable`.
        """

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge a hold and return the gas. Settling again changes nothing.

        `counted` is the input as it was counted before, to compare with the one in `used`; None if
        the provider has not come to its end.
        Raises `GasRefused` and `PeerUnavailable`.
        """

    async def release(self, hold: str) -> None:
        """Give a hold back of which nothing was used. Again changes nothing.

        Raises `GasRefused` and `PeerUnavailable`.
        """


@dataclass(frozen=True)
class HubSource:
    """Which file of a hub; `sha256` is what the caller expects of it, or empty."""

    repository: str
    file: str
    revision: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class HubFile:
    """A file that the hub has; `sha256` is empty where the hub does not know it."""

    url: str
    size_bytes: int
    sha256: str


class Hub(Protocol):
    """Where weights come from. It blocks: its callers are threads."""

    def find(self, source: HubSource) -> HubFile:
        """Return a file, at the commit that its revision is now.

        Raises `HubFileNotFound`, `HubDenied` and `HubUnavailable`.
        """

    def fetch(self, source: HubSource, file: HubFile, target: BinaryIO, report: Report) -> None:
        """Append to `target` what it lacks of a file; what has arrived stays, however this ends.

        Raises the same errors, and what `report` raises.
        """
