"""Whatever a known caller sends, the service answers or names what is wrong; it never breaks."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actionvm.gas.v1 import gas_pb2_grpc
from chassis.fields import page_token
from chassis.server import Hosted
from gas.service import CALLERS, DESCRIPTOR, GasService, hosted
from tests.contracts.contract import error_info
from tests.gas.ledgers import ACCOUNT, MODEL, hold_names, open_ledger
from tests.grpc_fixtures import StubAs

Stub: TypeAlias = gas_pb2_grpc.GasServiceStub

UUID = str(uuid.UUID(int=7, version=4))
# The first hold that is made has the first of these names, so that some requests meet it.
HOLDS = list(islice(hold_names(1), 3))
TEXTS = st.one_of(
    st.sampled_from([ACCOUNT, MODEL, f"runs/{UUID}", *HOLDS, "r", page_token(ACCOUNT, MODEL)]),
    st.text(max_size=300),
    st.binary(max_size=30).map(lambda content: page_token(content.decode("latin-1"), "x")),
)
PRIMITIVES: dict[int, st.SearchStrategy[object]] = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]),
    FieldDescriptor.CPPTYPE_INT64: st.integers(0, 99)
    | st.sampled_from([-1, 10**15, 2**53 - 1, 2**53, 2**63 - 1, -(2**63)]),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 5) | st.sampled_from([-1, 99, 2**31 - 1]),
}
REQUESTS = {method.name: GetMessageClass(method.input_type) for method in DESCRIPTOR.methods}


def messages(kind: type[Message], *, depth: int = 3) -> st.SearchStrategy[Message]:
    """Build messages of a kind: every field may be absent, right, or absurd."""

    def values(field: Any) -> st.SearchStrategy[object]:  # noqa: ANN401  # its type has two names
        one: st.SearchStrategy[object]
        if field.message_type:
            one = messages(GetMessageClass(field.message_type), depth=depth - 1)
        else:
            is_bytes = field.type == FieldDescriptor.TYPE_BYTES
            one = PRIMITIVES.get(field.cpp_type, st.binary(max_size=300) if is_bytes else TEXTS)
        return st.lists(one, max_size=18) if field.is_repeated else one

    fields = kind.DESCRIPTOR.fields if depth else ()
    known = {field.name: values(field) for field in fields}
    return st.fixed_dictionaries({}, optional=known).map(lambda content: kind(**content))


@pytest.fixture(scope="module")
def hosted_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    path: Path = tmp_path_factory.mktemp("gas") / "gas.db"

    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        yield hosted(GasService(open_ledger(path).store))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


@pytest.mark.parametrize("method", sorted(REQUESTS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_breaks_the_service(
    grpc_stub_as: StubAs, method: str, data: st.DataObject
) -> None:
    request = data.draw(messages(REQUESTS[method]))
    caller = data.draw(st.sampled_from(sorted(CALLERS[method])))

    assert _reason(grpc_stub_as(caller), method, request) != "INTERNAL"


def _reason(stub: Stub, method: str, request: Message) -> str:
    try:
        answer = getattr(stub, method)(request, timeout=20)
        if isinstance(answer, grpc.Call):
            # A stream that does not fail at once goes on until it is cancelled.
            Timer(0.05, answer.cancel).start()
            list(answer)  # type: ignore[call-overload]  # a stream of responses
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.CANCELLED:
            return ""
        reason = error_info(error).reason
        assert reason, f"{method} failed without a reason: {error}"
        return reason
    return ""
