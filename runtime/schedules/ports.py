"""What schedules need of others, by role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class StartLater(Exception):
    """Somebody is missing, or there is no room; the same call may succeed later."""


class StartRefused(Exception):
    """A run cannot be started, now or later; `reason` is a code in capitals."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Start:
    """A run to be started; `request_id` is the same however often."""

    bundle: str
    input: str
    request_id: str
    dry_run: bool


class Starter(Protocol):
    """Where runs come from."""

    async def check(self, bundle: str) -> None:
        """Raise the `ServiceError` with which a run of a bundle would be refused."""

    async def start(self, start: Start, /) -> str:
        """Start a run, or find the one of the same request; return its name.

        Raise `StartLater` and `StartRefused`.
        """

    async def is_open(self, run: str) -> bool:
        """Tell whether a run has not ended; one that nobody knows has."""

    async def cancel(self, run: str) -> None:
        """Ask a run to stop."""


@dataclass(frozen=True)
class Document:
    """A version of a document."""

    name: str
    source: str
    sha256: str
    update_time: datetime


class WatchingFails(Exception):
    """A collection cannot be watched until somebody does something about it."""


class Collections(Protocol):
    """Where documents are added and replaced."""

    async def changed(self, collection: str, since: datetime, /) -> Sequence[Document]:
        """Return the documents that were added or replaced at a time or later, oldest first.

        Raise `PeerUnavailable`, and `WatchingFails`.
        """
