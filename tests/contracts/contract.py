"""What a contract test is: one call of one RPC, and the reason that it must answer with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from chassis.identity import OPERATOR
from tests.grpc_fixtures import StubAs


@dataclass(frozen=True)
class Call:
    """A call of one RPC; an empty `reason` means that it succeeds."""

    method: str
    request: Any
    caller: str = OPERATOR
    reason: str = ""


def make(stub_as: StubAs, call: Call) -> list[Any]:
    """Make a call; return the response, or the responses of a stream, or check the reason.

    An error must carry `ErrorInfo` with the reason and the service's domain.
    """
    method = getattr(stub_as(call.caller), call.method)
    responses: list[Any] = []
    found = ""
    try:
        answer: Any = method(call.request, timeout=20)
        responses = list(answer) if hasattr(answer, "__next__") else [answer]
    except grpc.RpcError as error:
        info = error_info(error)
        found = info.reason if info.domain.endswith(".actionvm") else f"no domain: {error}"

    assert found == call.reason, f"{call.method} answers {found or 'OK'}"
    return responses


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Return the `ErrorInfo` of a failed call; empty if it carries none."""
    assert isinstance(error, grpc.Call)
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(info):
            break
    return info


def bad_request(error: grpc.RpcError) -> dict[str, str]:
    """Return field path -> description of a failed call."""
    assert isinstance(error, grpc.Call)
    found = error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(found):
            break
    return {violation.field: violation.description for violation in found.field_violations}


def refused_field(call: Callable[[], object]) -> str:
    """Make a call that must be refused for one field; return its path."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert error_info(caught.value).reason == "INVALID_FIELD"
    (field,) = bad_request(caught.value)
    return field
