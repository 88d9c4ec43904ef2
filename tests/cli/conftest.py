"""Fixtures: a home folder whose services are fakes, and the command line to use on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from typer.testing import CliRunner, Result

from actionvm.assembler.v1 import assembler_pb2, assembler_pb2_grpc
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc, market_pb2, market_pb2_grpc
from actionvm.keymanager.v1 import (
    keymanager_pb2,
    keymanager_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    recovery_pb2,
    recovery_pb2_grpc,
)
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from actionvm.runtime.v1 import (
    runtime_pb2,
    runtime_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
)
from chassis.identity import OPERATOR, Authorizer, read_identities
from chassis.interceptors import RpcInterceptor
from chassis.log import LEVELS
from chassis.server import OPEN_PREFIXES
from chassis.tls import Mutual
from cli.app import app
from cli.home import Home
from cli.services import ROOT, SERVICE_NAMES
from cli.state import Child, State
from keymanager.identity.own import publish
from platformd.server import listen
from tests.keymanager.authorities import an_authority, enrolled

from .fake_keymanager import FakeKeymanager, FakePolicy, FakeRecovery
from .fake_linker import FakeLinker
from .fake_schedules import FakeSchedules
from .fakes import (
    FakeAssembler,
    FakeKnowledge,
    FakeRuntime,
    details_of,
)
from .gas_fakes import FakeGas, FakeMarket

CONTRACTS = (
    assembler_pb2,
    gas_pb2,
    keymanager_pb2,
    knowledge_pb2,
    linker_pb2,
    market_pb2,
    policy_pb2,
    recovery_pb2,
    runtime_pb2,
    schedules_pb2,
)
METHODS = tuple(
    method.name
    for contract in CONTRACTS
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)

Invoke = Callable[..., Result]


@dataclass
class FakeSystem:
    """Six fakes in one server, which a home folder takes for a running system."""

    home: Home
    addresses: dict[str, str] = field(default_factory=dict)
    assembler: FakeAssembler = field(default_factory=FakeAssembler)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    schedules: FakeSchedules = field(default_factory=FakeSchedules)
    keymanager: FakeKeymanager = field(default_factory=FakeKeymanager)
    policy: FakePolicy = field(default_factory=FakePolicy)
    recovery: FakeRecovery = field(default_factory=FakeRecovery)
    knowledge: FakeKnowledge = field(default_factory=FakeKnowledge)
    gas: FakeGas = field(default_factory=FakeGas)
    market: FakeMarket = field(default_factory=FakeMarket)
    linker: FakeLinker = field(default_factory=FakeLinker)

    async def serve(self) -> aio.Server:
        """Start to serve on a free port."""
        identities = read_identities(self.home.identities_file)
        authority = an_authority()
        publish(authority, self.home.ca_file)
        callers = dict.fromkeys(METHODS, frozenset({OPERATOR}))
        interceptor = RpcInterceptor(
            domain="fake.actionvm",
            authorizer=Authorizer(identities, callers),
            details_of=details_of,
            open_prefixes=OPEN_PREFIXES,
        )
        server = aio.server(interceptors=[interceptor])
        assembler_pb2_grpc.add_AssemblerServiceServicer_to_server(self.assembler, server)
        runtime_pb2_grpc.add_RuntimeServiceServicer_to_server(self.runtime, server)
        schedules_pb2_grpc.add_ScheduleServiceServicer_to_server(self.schedules, server)
        keymanager_pb2_grpc.add_KeymanagerServiceServicer_to_server(self.keymanager, server)
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(self.policy, server)
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(self.recovery, server)
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(self.knowledge, server)
        gas_pb2_grpc.add_GasServiceServicer_to_server(self.gas, server)
        market_pb2_grpc.add_MarketplaceServiceServicer_to_server(self.market, server)
        linker_pb2_grpc.add_LinkerServiceServicer_to_server(self.linker, server)
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        for name in SERVICE_NAMES:
            member = Mutual(await enrolled(authority, name))
            port, _ = member.listen(server, "127.0.0.1:0", "127.0.0.1:0")
            self.addresses[name] = f"127.0.0.1:{port}"
        await server.start()
        return server

    def publish(self) -> None:
        """Write the state of a supervisor that is this very process."""
        start_seconds = psutil.Process().create_time()
        services = {name: Child(self.addresses[name], pid=os.getpid()) for name in SERVICE_NAMES}
        platform = Child(str(self.home.platform_socket), pid=os.getpid())
        State(os.getpid(), start_seconds, 1, platform, services).write(self.home)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder with its tokens."""
    made = Home(tmp_path / "home")
    made.prepare(SERVICE_NAMES)
    return made


@pytest.fixture
def system(home: Home) -> Iterator[FakeSystem]:
    """Serve fakes in a loop of their own thread; what they log is not what a command prints."""
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS["error"]))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    fake = FakeSystem(home)
    server = asyncio.run_coroutine_threadsafe(fake.serve(), loop).result(10)
    fake.publish()
    platform = listen(home.platform_socket)
    yield fake
    platform.close()
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
    structlog.configure(**configured)


@pytest.fixture
def invoke(home: Home) -> Invoke:
    """Return a function that runs a command in this process."""

    def invoke(*arguments: str, stdin: bytes | str | None = None) -> Result:
        return CliRunner().invoke(app, ["--home", str(home.folder), *arguments], input=stdin)

    return invoke


@pytest.fixture
def start_command(home: Home) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a command as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cli", "--home", str(home.folder), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return the path of a small agent."""
    path = tmp_path / "agent.yaml"
    path.write_text("apiVersion: actionvm/v1\nkind: Agent\n")
    return path
