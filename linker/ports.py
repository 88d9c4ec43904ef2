"""What the linker needs of others: models that generate, a hub of weights, a meter that is paid."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from .conversation import Conversation, Delta, Finished, Prompt, Tokens
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
        """Yield deltas, then `Finished`; stop before the next token once this is closed.

        The first delta comes when the model has read the prompt. Until then this may raise
        `QueueFull` and `SchemaUnsupported`. The caller has made sure that everything fits into the
        context.
        """


class Provider(Protocol):
    """Where models come from; models are named without the provider here."""

    async def models(self) -> Sequence[ListedModel]:
        """Return the models that could be opened, by name."""

    async def open(self, model: str) -> OpenModel:
        """Return a model. Raises `ModelNotFound` and `ModelUnusable`. Opening again is cheap."""


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


class GasMeter(Protocol):
    """Holds gas before a generation, and charges it after. Answers in bounded time."""

    async def reserve(self, reservation: Reservation) -> str:
        """Return the hold; the same request id gives the same hold.

        Raises `BudgetExceeded`, `GasRefused`, `RequestIdReused` and `PeerUnavailable`.
        """

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge a hold and return the gas. Settling again changes nothing.

        `counted` is the input as it was counted before, to compare with the one in `used`; None if
        the provider has not come to its end.
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
