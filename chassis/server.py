"""Serving: interceptors, health, reflection, and a stop that lets calls finish."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from .channel import MESSAGE_BYTES_MAX
from .config import ServiceConfig
from .identity import Authorizer, read_identities
from .interceptors import RpcInterceptor, no_details
from .log import install_log, log
from .telemetry import Telemetry, install_telemetry

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from .interceptors import DetailsOf

OPEN_PREFIXES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
STOP_SECONDS = 3.0
CALLS_MAX = 1_000

Config = TypeVar("Config", bound=ServiceConfig)


@dataclass(frozen=True)
class Hosted:
    """A service, ready to be served: what the composition root of each service builds.

    `callers` is the authorisation table, bare method name -> names of callers; every method of the
    contract must be in it. `others` are further contracts that the process serves.
    """

    descriptor: ServiceDescriptor
    add_to: Callable[[Any], None]
    callers: Mapping[str, frozenset[str]]
    details_of: DetailsOf = no_details
    others: tuple[ServiceDescriptor, ...] = ()

    @property
    def domain(self) -> str:
        """Return the `ErrorInfo.domain` of the service, such as `gas.actionvm`."""
        return f"{self.descriptor.full_name.split('.')[1]}.actionvm"

    def interceptor(self, identities: Mapping[str, str]) -> RpcInterceptor:
        """Return what stands before every call; a method that the table forgets is a bug."""
        contracts = (self.descriptor, *self.others)
        methods = [method.name for contract in contracts for method in contract.methods]
        assert sorted(methods) == sorted(self.callers), set(methods) ^ set(self.callers)
        return RpcInterceptor(
            domain=self.domain,
            authorizer=Authorizer(identities, self.callers),
            details_of=self.details_of,
            open_prefixes=OPEN_PREFIXES,
        )


class AddressTaken(Exception):
    """Somebody else serves on the address."""


Build = Callable[[Config, Telemetry], AbstractAsyncContextManager[Hosted]]


def run(service: str, config: Config, build: Build[Config]) -> None:
    """Serve until SIGTERM or SIGINT; the body of every `__main__`."""
    install_log(service, config.log_level)
    try:
        uvloop.run(_serve(service, config, build))
    except AddressTaken as error:
        sys.stderr.write(f"{service}: {error}\n")
        raise SystemExit(1) from error


async def _serve(service: str, config: Config, build: Build[Config]) -> None:
    telemetry = install_telemetry(service, config.otlp_endpoint)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with build(config, telemetry) as hosted:
        server = await start_server(config, hosted, telemetry)
        log.info("service.started", address=server.address, pid=os.getpid())
        await stop.wait()
        await server.stop()
    log.info("service.stopped")


@dataclass(frozen=True)
class RunningServer:
    """A server that answers on `address`."""

    address: str
    grpc_server: aio.Server
    health: Any  # health.aio.HealthServicer, which its stubs lack

    async def stop(self) -> None:
        """Report not serving, let calls finish for a moment, then stop."""
        await self.health.enter_graceful_shutdown()
        await self.grpc_server.stop(STOP_SECONDS)


async def start_server(
    config: ServiceConfig, hosted: Hosted, telemetry: Telemetry | None = None
) -> RunningServer:
    """Start to serve, with health and reflection beside the service itself."""
    interceptor = hosted.interceptor(read_identities(config.identities_file))
    server = aio.server(
        interceptors=[*(telemetry or Telemetry()).server, interceptor],
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=CALLS_MAX,
    )
    hosted.add_to(server)
    names = [contract.full_name for contract in (hosted.descriptor, *hosted.others)]
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(
        (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    host = config.listen.rpartition(":")[0]
    try:
        port = server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise AddressTaken(
            f"{config.listen} cannot be served on: it is taken, or not ours; choose another port"
        ) from error
    await server.start()
    for known in (*names, health.OVERALL_HEALTH):
        await servicer.set(known, health_pb2.HealthCheckResponse.SERVING)
    return RunningServer(f"{host}:{port}", server, servicer)


def ensure_private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
