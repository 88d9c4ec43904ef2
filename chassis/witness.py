"""Witnesses of a log: who heard of a record notices when its owner has forgotten it.

Every answer says how many records there are; every caller says with its next call the most that it
heard of. So older data that were put back are noticed as long as one caller remembers (Matetic et
al., ROTE, USENIX Security 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from grpc import aio

# How many records there are, as an answer says in its trailers; the most that a caller heard of.
SEQUENCE = "actionvm-audit-sequence"
SEEN = "actionvm-audit-seen"


class WitnessedLog(Protocol):
    """A log whose last record others remember."""

    @property
    def sequence(self) -> int:
        """Return the sequence of the last record."""

    def require_seen(self, sequence: int) -> None:
        """Raise a `ServiceError` if somebody saw a record that is not there."""


class Witness(aio.UnaryUnaryClientInterceptor):
    """Remembers the last record of one peer, as long as this process lives."""

    def __init__(self) -> None:
        self.seen = 0

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        """Say what was heard of, and listen to the answer."""
        metadata = aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add(SEEN, str(self.seen))
        details = aio.ClientCallDetails(
            method=client_call_details.method,
            timeout=client_call_details.timeout,
            metadata=metadata,
            credentials=client_call_details.credentials,
            wait_for_ready=client_call_details.wait_for_ready,
        )
        call = await continuation(details, request)
        self.seen = max(self.seen, read_number(await call.trailing_metadata(), SEQUENCE))
        return call


def read_number(metadata: Any, key: str) -> int:  # noqa: ANN401  # of grpc, differently typed
    """Return a number in metadata; what is none counts as nothing."""
    for name, value in metadata or ():
        if name == key and isinstance(value, str) and value.isascii() and value.isdecimal():
            # Longer ones are nobody's number, and reading them would take its time.
            return int(value[:19])
    return 0
