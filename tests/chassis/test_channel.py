"""Channels: what another service answers comes back as an error of the caller's own."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest
from grpc import aio

from chassis.channel import RemoteError, translated
from chassis.errors import InvalidField, PeerUnavailable, ResourceExhausted, ServiceError
from chassis.interceptors import status_of
from chassis.tls import Bearer


@dataclass(eq=False)
class _Broke(ResourceExhausted):
    reason = "BROKE"
    message = "{account} is broke"

    account: str


def _call_failed(error: ServiceError) -> aio.AioRpcError:
    status = status_of(error, "gas.actionvm")
    trailer = aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    code = grpc.StatusCode[error.code]
    return aio.AioRpcError(code, aio.Metadata(), trailer, status.message, None)


def test_a_known_reason_becomes_the_error_of_the_caller() -> None:
    def broke(remote: RemoteError) -> ServiceError:
        return _Broke(remote.metadata["account"])

    with pytest.raises(_Broke, match="agents/a is broke"), translated("gas", {"BROKE": broke}):
        raise _call_failed(_Broke("agents/a"))


def test_a_wrong_field_stays_a_wrong_field() -> None:
    with pytest.raises(InvalidField, match="hold: is required"), translated("gas"):
        raise _call_failed(InvalidField("hold", "is required"))


# gRPC itself answers the last one, without a reason, when a server has too many calls.
@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"]
)
def test_a_peer_that_does_not_answer_is_unavailable(code: str) -> None:
    error = aio.AioRpcError(grpc.StatusCode[code], aio.Metadata(), aio.Metadata(), "", None)

    with pytest.raises(PeerUnavailable, match="gas does not answer"), translated("gas"):
        raise error


def test_an_unknown_reason_is_a_bug_and_passes_through() -> None:
    with pytest.raises(aio.AioRpcError), translated("gas"):
        raise _call_failed(_Broke("agents/a"))


async def test_a_peer_that_is_not_there_is_unavailable() -> None:
    async with Bearer("token").connect("127.0.0.1:1", "peer") as channel:
        call = channel.unary_unary("/toy/Toy", bytes, bytes)
        with pytest.raises(PeerUnavailable), translated("toy"):
            await call(b"", timeout=5)
