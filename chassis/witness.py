"""Witnesses of a log: who heard of a record notices when its owner has forgotten it.

Every answer carries a mark, which says how far the log is, and which only its owner can make; every
caller shows with its next call the latest that it heard of. So older data that were put back are
noticed as long as one caller remembers (Matetic et al., ROTE, USENIX Security 2017).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from grpc import aio

from .log import log

# The key of a mark in the trailers of an answer, and in the metadata of a call.
MARK = "actionvm-audit-mark"
# `<log>:<sequence>:<hash of that record>:<what makes it authentic>`
MARK_CHARACTERS_MAX = 256
_PARTS = 4
# So much of what was heard is forgotten at most when a process is killed.
KEEP_SECONDS = 1.0


class WitnessedLog(Protocol):
    """A log whose end others remember."""

    @property
    def mark(self) -> str:
        """Return what says how far the log is."""

    def heed(self, mark: str) -> None:
        """Refuse everything from now on if a mark shows that records are lost.

        What the owner of the log did not make itself shows nothing.
        """


class Witness:
    """The latest mark of one peer; in a file it outlives the process.

    A file that is missing, or is none of a witness, is as if nothing had been heard.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._timer: asyncio.TimerHandle | None = None
        self.mark = _read(file) if file is not None else ""

    @property
    def interceptors(self) -> tuple[aio.ClientInterceptor, ...]:
        """Return what goes into the channel to the peer."""
        return _Unary(self), _Stream(self)

    def hear(self, mark: str) -> None:
        """Remember a mark if it is later than the one before, or of another log."""
        place, known = _place_of(mark), _place_of(self.mark)
        if place is None or (known and known[0] == place[0] and known[1] >= place[1]):
            return
        self.mark = mark
        if self._file is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, self.keep)

    def keep(self) -> None:
        """Write what was heard into the file."""
        if self._timer is None or self._file is None:
            return
        self._timer.cancel()
        self._timer = None
        # Several processes may remember in one file: each writes a file of its own first.
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            draft.write_text(self.mark)
            draft.replace(self._file)
        except FileNotFoundError:
            # A client from elsewhere may have no folder.
            return
        except OSError as error:
            log.warning("witness.not_kept", error=type(error).__name__)


@asynccontextmanager
async def remembering(file: Path) -> AsyncIterator[Witness]:
    """Return a witness that remembers in a file, also what it heard last."""
    witness = Witness(file)
    try:
        yield witness
    finally:
        witness.keep()


class _Unary(aio.UnaryUnaryClientInterceptor):
    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        """Show what was heard, and listen to the answer."""
        call = await continuation(_showing(client_call_details, self._witness.mark), request)
        self._witness.hear(read_mark(await call.trailing_metadata()))
        return call


class _Stream(aio.UnaryStreamClientInterceptor):
    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        """Show what was heard; a stream may never end, so nobody waits for its trailers."""
        return await continuation(_showing(client_call_details, self._witness.mark), request)


def read_mark(metadata: Any) -> str:  # noqa: ANN401  # of grpc, differently typed
    """Return the mark in metadata; empty if there is none, or something too long to be one."""
    for name, value in metadata or ():
        if name == MARK and isinstance(value, str) and len(value) <= MARK_CHARACTERS_MAX:
            return value
    return ""


def _showing(details: aio.ClientCallDetails, mark: str) -> aio.ClientCallDetails:
    metadata = aio.Metadata(*(details.metadata or ()))
    if mark:
        metadata.add(MARK, mark)
    return aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout,
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


def _place_of(mark: str) -> tuple[str, int] | None:
    """Return which log a mark is of, and which record; None if it is no mark."""
    parts = mark.split(":")
    if len(parts) != _PARTS or not (parts[1].isascii() and parts[1].isdecimal()):
        return None
    return parts[0], int(parts[1])


def _read(file: Path) -> str:
    try:
        content = file.read_bytes()[: MARK_CHARACTERS_MAX + 1].decode("ascii")
    except (OSError, ValueError):
        return ""
    is_mark = len(content) <= MARK_CHARACTERS_MAX and content.isprintable() and _place_of(content)
    return content if is_mark else ""
