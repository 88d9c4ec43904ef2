"""What peers refuse, as what it means for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from grpc import aio

from chassis.channel import RemoteError, remote_error, translated
from chassis.errors import InvalidField, PeerUnavailable, ServiceError

from ..facts import Failure
from ..ports import RunFails

Known = Mapping[str, Callable[[RemoteError], ServiceError]]


@contextmanager
def within_run(peer: str, reason: str, known: Known | None = None) -> Iterator[None]:
    """Turn what a peer refuses during a run into the failure of the run, `reason` by default."""
    try:
        with translated(peer, known):
            yield
    except InvalidField as error:
        raise RunFails(Failure(reason, f"{peer} refused the request: {error}")) from error
    except aio.AioRpcError as error:
        remote = remote_error(error)
        refusal = remote.reason or remote.code.name
        message = f"{peer} refused with {refusal}: {remote.message}"
        raise RunFails(Failure(_REASONS.get(remote.reason, reason), message)) from error


# Whoever refuses with these, they say the same of the run.
_REASONS = {"BUDGET_EXCEEDED": "BUDGET_EXCEEDED", "GAS_REFUSED": "GAS_FAILED"}


@contextmanager
def until_answered(peer: str, known: Known | None = None) -> Iterator[None]:
    """Turn whatever a peer refuses into its absence: where a run cannot do without an answer."""
    try:
        with translated(peer, known):
            yield
    except (InvalidField, aio.AioRpcError) as error:
        raise PeerUnavailable(peer) from error
