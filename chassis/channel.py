"""Channels to other services: token, deadline, retries, and errors back as errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from .errors import (
    CertificateExpired,
    CertificateRevoked,
    InvalidField,
    PeerUnavailable,
    ServiceError,
)

if TYPE_CHECKING:
    ClientInterceptors: TypeAlias = Sequence[Any]

# A unary call that names no deadline of its own gets this one.
DEADLINE_SECONDS = 10.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def open_channel(
    address: str,
    *,
    token: str = "",
    credentials: grpc.ChannelCredentials | None = None,
    authority: str = "",
    interceptors: ClientInterceptors = (),
) -> aio.Channel:
    """Return a channel that connects when first used; without credentials it is in the clear.

    A token goes with every call. `authority` is the name that the server must prove; empty is the
    host of the address.
    """
    ours: list[Any] = [*interceptors, _UnaryIdentity(token), _StreamIdentity(token)]
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        # A peer that was killed and is back must be found at once, not after two minutes.
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.initial_reconnect_backoff_ms", 100),
    ]
    if authority:
        options.append(("grpc.ssl_target_name_override", authority))
    if credentials is None:
        return aio.insecure_channel(address, options=options, interceptors=ours)
    return aio.secure_channel(address, credentials, options=options, interceptors=ours)


@dataclass(frozen=True)
class RemoteError:
    """What another service answered instead of a response."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: Mapping[str, str]


def remote_error(error: aio.AioRpcError) -> RemoteError:
    """Read the details of a failed call; without details the reason is empty."""
    info = find_detail(error, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo()
    return RemoteError(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
    )


def find_detail(error: aio.AioRpcError, kind: Callable[[], Any]) -> Any | None:  # noqa: ANN401  # any message
    """Return the first detail of this message type, or None."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # typed for the sync API
    for detail in status.details if status else ():
        message = kind()
        if detail.Unpack(message):
            return message
    return None


@contextmanager
def translated(
    peer: str, known: Mapping[str, Callable[[RemoteError], ServiceError]] | None = None
) -> Iterator[None]:
    """Turn failed calls in a block into errors of the caller's own vocabulary.

    `known` maps reasons to constructors. `INVALID_FIELD` stays what it is. A peer that is down, too
    slow, has more calls than it takes, or does not know us now, is `PeerUnavailable`; whatever is
    left is a bug, and the call's error passes through.
    """
    try:
        yield
    except aio.AioRpcError as error:
        remote = remote_error(error)
        if known and remote.reason in known:
            raise known[remote.reason](remote) from error
        if remote.reason == InvalidField.reason:
            fields = remote.metadata
            raise InvalidField(fields.get("field", ""), fields.get("problem", "")) from error
        is_overloaded = remote.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not remote.reason
        # Ours ended while the key manager was away, or was revoked; either passes.
        is_out = remote.reason in {CertificateExpired.reason, CertificateRevoked.reason}
        if remote.code in _TRANSIENT or is_overloaded or is_out:
            raise PeerUnavailable(peer) from error
        raise


_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # A peer that shuts down cancels the streams that it is sending.
    grpc.StatusCode.CANCELLED,
}


class _UnaryIdentity(aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        details = _identified(client_call_details, self._token, DEADLINE_SECONDS)
        return await continuation(details, request)


class _StreamIdentity(aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: aio.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        return await continuation(_identified(client_call_details, self._token, None), request)


def _identified(
    details: aio.ClientCallDetails, token: str, timeout: float | None
) -> aio.ClientCallDetails:
    metadata = aio.Metadata(*(details.metadata or ()))
    if token:
        metadata.add("authorization", f"Bearer {token}")
    return aio.ClientCallDetails(
        method=details.method,
        timeout=timeout if details.timeout is None else details.timeout,
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )
