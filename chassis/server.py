"""Serving: interceptors, health, reflection, and a stop that lets calls finish."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from .channel import MESSAGE_BYTES_MAX
from .config import ServiceConfig
from .errors import AddressTaken
from .identity import PEOPLE, Authorizer, IdentitiesFile, Tokens
from .interceptors import RpcInterceptor, domain_of, no_details
from .log import install_log, log
from .telemetry import Telemetry, install_telemetry
from .tls import Bearer, Member
from .witness import WitnessedLog

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from .interceptors import DetailsOf

OPEN_PREFIXES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
STOP_SECONDS = 3.0
CALLS_MAX = 1_000
# Then a client makes a new connection, with a handshake; calls and streams go on to their end.
CONNECTION_SECONDS = 300.0

Config = TypeVar("Config", bound=ServiceConfig)


@dataclass(frozen=True)
class Hosted:
    """A service, ready to be served: what the composition root of each service builds.

    `callers` is the authorisation table, bare method name -> roles of callers; every method of the
    contract must be in it. `others` are further contracts that the process serves. `member` is who
    the process is among the others, `witnessed` a log whose end callers remember.
    """

    descriptor: ServiceDescriptor
    add_to: Callable[[Any], None]
    callers: Mapping[str, frozenset[str]]
    details_of: DetailsOf = no_details
    others: tuple[ServiceDescriptor, ...] = ()
    member: Member = field(default_factory=Bearer)
    witnessed: WitnessedLog | None = None

    def of(self, member: Member) -> Hosted:
        """Return the same as served by a member of a system."""
        return replace(self, member=member)

    def interceptor(self, tokens: Tokens) -> RpcInterceptor:
        """Return what stands before every call; a method that the table forgets is a bug."""
        contracts = (self.descriptor, *self.others)
        methods = [method.name for contract in contracts for method in contract.methods]
        assert sorted(methods) == sorted(self.callers), set(methods) ^ set(self.callers)
        return RpcInterceptor(
            domain=domain_of(self.descriptor),
            authorizer=Authorizer(tokens, self.callers, revoked=self.member.revoked),
            details_of=self.details_of,
            certificate_of=self.member.certificate_of,
            open_prefixes=OPEN_PREFIXES,
            witnessed=self.witnessed,
        )


Build = Callable[[Config, Telemetry], AbstractAsyncContextManager[Hosted]]


def run(service: str, config: Config, build: Build[Config]) -> None:
    """Serve until SIGTERM or SIGINT; the body of every `__main__`."""
    forbid_core_files()
    install_log(service, config.log_level)
    # What is loaded by now stays. Whoever looked for garbage in it would stop all for 0.1 s.
    gc.freeze()
    try:
        uvloop.run(_serve(service, config, build))
    except AddressTaken as error:
        sys.stderr.write(f"{service}: {error}\n")
        raise SystemExit(1) from error


async def _serve(service: str, config: Config, build: Build[Config]) -> None:
    telemetry = install_telemetry(service, config.otlp_endpoint)
    stop = asyncio.Event()
    this = asyncio.current_task()
    assert this is not None, "a coroutine that runs has a task"
    for number in (signal.SIGTERM, signal.SIGINT):
        # Who waits to become a member of a system, perhaps for ever, has to stop, too.
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    with suppress(asyncio.CancelledError):
        async with build(config, telemetry) as hosted:
            server = await start_server(config, hosted, telemetry)
            where = {"address": server.address, "peer_address": server.peer_address}
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            log.info("service.started", **where, pid=os.getpid())
            await stop.wait()
            await server.stop()
    log.info("service.stopped")


@dataclass(frozen=True)
class RunningServer:
    """A server that answers people on `address`, and its peers on `peer_address`."""

    address: str
    peer_address: str
    grpc_server: aio.Server
    health: Any  # health.aio.HealthServicer, which its stubs lack

    async def stop(self) -> None:
        """Report not serving, let calls finish for a moment, then stop."""
        await self.health.enter_graceful_shutdown()
        await self.grpc_server.stop(STOP_SECONDS)


class _Unregistered:
    """A server that finds methods by their names when they are called.

    With each call, grpcio begins anew to wait for one of every method that is registered
    (`AioServer._server_main_loop`); with 46 of them that is a twelfth of what gRPC costs.
    """

    def __init__(self, server: aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Serve methods by name."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register nothing: all of them are served by name."""


async def start_server(
    config: ServiceConfig, hosted: Hosted, telemetry: Telemetry | None = None
) -> RunningServer:
    """Start to serve, with health and reflection beside the service itself."""
    # A token that names a service is worth something only where services have no certificates.
    roles = PEOPLE if config.tls == "on" else None
    tokens = IdentitiesFile(config.identities_file, roles=roles, monotonic=time.monotonic)
    interceptor = hosted.interceptor(tokens)
    server = aio.server(
        interceptors=[*(telemetry or Telemetry()).server, interceptor],
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
            # What is open is checked at each call; this is for what is not: the server's own.
            ("grpc.max_connection_age_ms", int(CONNECTION_SECONDS * 1_000)),
        ],
        maximum_concurrent_rpcs=CALLS_MAX,
    )
    unregistered: Any = _Unregistered(server)
    hosted.add_to(unregistered)
    names = [contract.full_name for contract in (hosted.descriptor, *hosted.others)]
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, unregistered)
    reflection.enable_server_reflection(
        (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), unregistered
    )
    try:
        port, peer_port = hosted.member.listen(server, config.listen, config.peer_listen)
    except RuntimeError as error:
        addresses = " or ".join(filter(None, (config.listen, config.peer_listen)))
        raise AddressTaken(
            f"{addresses} cannot be served on: it is taken, or not ours; choose another port"
        ) from error
    await server.start()
    for known in (*names, health.OVERALL_HEALTH):
        await servicer.set(known, health_pb2.HealthCheckResponse.SERVING)
    address, peer_address = _at(config.listen, port), _at(config.peer_listen, peer_port)
    return RunningServer(address, peer_address, server, servicer)


def _at(listen: str, port: int) -> str:
    return f"{listen.rpartition(':')[0]}:{port}"


def forbid_core_files() -> None:
    """Let no crash leave the memory of this process, with keys and prompts, on a disk.

    It could also hide from debuggers of its user (`PR_SET_DUMPABLE`), but then platformd could not
    measure it any more, which it does at each renewal of a certificate.
    """
    # A limit of 0 is for files only; of 1 byte there is no file either, and what is piped to a
    # program, as systemd wants it, is not made for a limit of exactly 1 (fs/coredump.c).
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = 1 if hard else 0
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def ensure_private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
