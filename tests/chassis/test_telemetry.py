"""Traces: one trace from client to server, and the log names it; nothing unless it is asked for."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.config import ServiceConfig
from chassis.identity import OPERATOR
from chassis.log import install_log
from chassis.server import Hosted, start_server
from chassis.telemetry import Telemetry, install_telemetry
from chassis.tls import Bearer
from chassis.unimplemented import refusing_the_rest
from tests.grpc_fixtures import identities_json, token_of

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]


@refusing_the_rest(DESCRIPTOR)
class _ToyService:
    async def GetPriceTable(
        self, request: gas_pb2.GetPriceTableRequest, context: object
    ) -> gas_pb2.GetPriceTableResponse:
        return gas_pb2.GetPriceTableResponse(version="1")


class _Collector:
    """Collects spans, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[_Collector, str]]:
    server = aio.server()
    servicer: Any = _Collector()
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_one_call_is_one_trace_on_both_sides_and_in_the_log(
    collector: tuple[_Collector, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans, endpoint = collector
    install_log("gas", "info")
    telemetry = install_telemetry("gas", endpoint)
    (tmp_path / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        identities_file=tmp_path / "identities.json",
        token_file=tmp_path / "token",
        tls="off",
    )
    servicer: Any = _ToyService()
    hosted = Hosted(
        DESCRIPTOR,
        lambda server: gas_pb2_grpc.add_GasServiceServicer_to_server(servicer, server),
        {method.name: frozenset({OPERATOR}) for method in DESCRIPTOR.methods},
    )
    server = await start_server(config, hosted, telemetry)
    channel = Bearer(token_of(OPERATOR)).connect(
        server.address, "peer", interceptors=telemetry.client
    )
    async with channel:
        stub: Any = gas_pb2_grpc.GasServiceStub(channel)
        await stub.GetPriceTable(gas_pb2.GetPriceTableRequest())
    await server.grpc_server.stop(0)
    provider: Any = trace.get_tracer_provider()
    await asyncio.to_thread(provider.shutdown)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "rpc." in line]

    assert len(spans.spans) == 2
    assert {span.trace_id.hex() for span in spans.spans} == {line["trace_id"]}
    assert (line["event"], line["method"], line["code"]) == ("rpc.finished", "GetPriceTable", "OK")


def test_without_a_collector_nothing_is_imported() -> None:
    before = set(sys.modules)

    assert install_telemetry("gas", "") == Telemetry()
    assert not {name for name in set(sys.modules) - before if "opentelemetry" in name}
