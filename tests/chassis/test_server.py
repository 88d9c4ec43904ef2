"""What every service does around a call, over real gRPC with a toy servicer of the gas contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.config import ServiceConfig
from chassis.errors import AddressTaken, InvalidField
from chassis.identity import OPERATOR, current_caller
from chassis.server import Hosted, start_server
from chassis.unimplemented import refusing_the_rest
from tests.contracts.contract import bad_request, error_info
from tests.grpc_fixtures import HostedFactory, StubAs

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]


@refusing_the_rest(DESCRIPTOR)
class _ToyService:
    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: object
    ) -> gas_pb2.GetBudgetResponse:
        if not request.account:
            raise InvalidField("account", "is required")
        if request.account == "agents/bug":
            raise KeyError(request.account)
        budget = gas_pb2.Budget(account=current_caller())
        return gas_pb2.GetBudgetResponse(budgets=[budget])


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        callers = {method.name: frozenset({OPERATOR}) for method in DESCRIPTOR.methods}

        def add_to(server: Any) -> None:  # noqa: ANN401  # as generated
            servicer: Any = _ToyService()
            gas_pb2_grpc.add_GasServiceServicer_to_server(servicer, server)

        yield Hosted(DESCRIPTOR, add_to, callers)

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[gas_pb2_grpc.GasServiceStub]:
    return gas_pb2_grpc.GasServiceStub


def _failure(call: Callable[..., object], request: object) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value


def test_the_servicer_knows_who_calls(grpc_stub: gas_pb2_grpc.GasServiceStub) -> None:
    response = grpc_stub.GetBudget(gas_pb2.GetBudgetRequest(account="agents/a"))

    assert response.budgets[0].account == OPERATOR


def test_a_call_with_a_forged_token_is_refused(
    grpc_stub_cls: Any,  # noqa: ANN401  # a stub class
    grpc_create_channel: Callable[[str], grpc.Channel],
) -> None:
    stub = grpc_stub_cls(grpc_create_channel("forged"))
    error = _failure(stub.GetBudget, gas_pb2.GetBudgetRequest(account="agents/a"))

    assert error_info(error).reason == "TOKEN_INVALID"


def test_a_call_without_a_token_is_refused(grpc_addr: str) -> None:
    with grpc.insecure_channel(grpc_addr) as channel:
        stub = gas_pb2_grpc.GasServiceStub(channel)
        error = _failure(stub.GetBudget, gas_pb2.GetBudgetRequest(account="agents/a"))

    assert error_info(error).reason == "TOKEN_INVALID"


def test_a_caller_that_the_table_does_not_list_is_refused(grpc_stub_as: StubAs) -> None:
    error = _failure(grpc_stub_as("linker").GetBudget, gas_pb2.GetBudgetRequest(account="agents/a"))

    assert error_info(error).reason == "METHOD_DENIED"
    assert dict(error_info(error).metadata) == {"caller": "linker", "method": "GetBudget"}


def test_a_wrong_field_is_named(grpc_stub: gas_pb2_grpc.GasServiceStub) -> None:
    error = _failure(grpc_stub.GetBudget, gas_pb2.GetBudgetRequest())

    assert bad_request(error) == {"account": "is required"}


def test_a_bug_is_internal(grpc_stub: gas_pb2_grpc.GasServiceStub) -> None:
    error = _failure(grpc_stub.GetBudget, gas_pb2.GetBudgetRequest(account="agents/bug"))

    assert error_info(error).reason == "INTERNAL"


def test_a_method_that_is_not_there_yet_says_so(grpc_stub: gas_pb2_grpc.GasServiceStub) -> None:
    error = _failure(grpc_stub.RefundGas, gas_pb2.RefundGasRequest())

    assert error_info(error).reason == "NOT_IMPLEMENTED"


def test_a_stream_that_is_not_there_yet_says_so(grpc_stub: gas_pb2_grpc.GasServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(grpc_stub.WatchCharges(gas_pb2.WatchChargesRequest()))

    assert error_info(caught.value).reason == "NOT_IMPLEMENTED"


def test_health_needs_no_token(grpc_addr: str) -> None:
    with grpc.insecure_channel(grpc_addr) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        response = stub.Check(health_pb2.HealthCheckRequest(service=DESCRIPTOR.full_name))

    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_a_method_that_the_table_forgets_stops_the_start() -> None:
    hosted = Hosted(DESCRIPTOR, lambda _: None, {"GetBudget": frozenset()})

    with pytest.raises(AssertionError):
        hosted.interceptor({})


def _config(listen: str, folder: Path) -> ServiceConfig:
    (folder / "identities.json").write_text("{}")
    return ServiceConfig(
        listen=listen,
        data_dir=folder,
        identities_file=folder / "identities.json",
        token_file=folder / "token",
        tls="off",
    )


async def test_a_taken_port_is_named(grpc_addr: str, tmp_path: Path) -> None:
    callers = {method.name: frozenset({OPERATOR}) for method in DESCRIPTOR.methods}

    with pytest.raises(AddressTaken, match=grpc_addr):
        config = _config(grpc_addr, tmp_path)
        await start_server(config, Hosted(DESCRIPTOR, lambda _: None, callers))


async def test_a_server_does_not_wait_for_each_method_apart(
    hosted_service: HostedFactory, tmp_path: Path
) -> None:
    async with hosted_service() as hosted:
        before = asyncio.all_tasks()
        server = await start_server(_config("127.0.0.1:0", tmp_path), hosted)
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - before
        await server.stop()
    # One that serves, and one for the next call, whatever it calls.
    assert len(tasks) == 2, len(DESCRIPTOR.methods)
