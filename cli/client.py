"""The six services as the operator calls them: retries while one restarts, errors in words."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import grpc
from google.rpc import error_details_pb2
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2_grpc
from actionvm.gas.v1 import gas_pb2_grpc, market_pb2_grpc
from actionvm.keymanager.v1 import (
    audit_pb2_grpc,
    keymanager_pb2_grpc,
    policy_pb2_grpc,
    recovery_pb2_grpc,
)
from actionvm.knowledge.v1 import knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2_grpc
from actionvm.runtime.v1 import runtime_pb2_grpc, schedules_pb2_grpc
from chassis.channel import find_detail, remote_error
from chassis.tls import connect_with_token
from chassis.witness import remembering

from .errors import CommandError, ExitCode, Problem
from .home import Home
from .services import PORT_BASE, addresses
from .state import Child, read_state

if TYPE_CHECKING:
    from actionvm.assembler.v1.assembler_pb2_grpc import AssemblerServiceAsyncStub
    from actionvm.gas.v1.gas_pb2_grpc import GasServiceAsyncStub
    from actionvm.gas.v1.market_pb2_grpc import MarketplaceServiceAsyncStub
    from actionvm.keymanager.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from actionvm.keymanager.v1.keymanager_pb2_grpc import KeymanagerServiceAsyncStub
    from actionvm.keymanager.v1.policy_pb2_grpc import PolicyServiceAsyncStub
    from actionvm.keymanager.v1.recovery_pb2_grpc import RecoveryServiceAsyncStub
    from actionvm.knowledge.v1.knowledge_pb2_grpc import KnowledgeServiceAsyncStub
    from actionvm.linker.v1.linker_pb2_grpc import LinkerServiceAsyncStub
    from actionvm.runtime.v1.runtime_pb2_grpc import RuntimeServiceAsyncStub
    from actionvm.runtime.v1.schedules_pb2_grpc import ScheduleServiceAsyncStub

# A service that was killed is back within a second or two; a stream is worth a longer wait.
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.2

Stub = TypeVar("Stub")
Response = TypeVar("Response")
Item = TypeVar("Item")
PageT = TypeVar("PageT", bound="Page")

TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        # A service that shuts down cancels the streams that it is sending.
        grpc.StatusCode.CANCELLED,
    }
)


class Peer(Generic[Stub]):
    """One service; calling it with `lambda stub: stub.Method(request)` gives the response."""

    def __init__(self, name: str, address: str, stub: Stub, patience_seconds: float) -> None:
        self.name = name
        self.address = address
        self.stub = stub
        self.patience_seconds = patience_seconds

    async def __call__(self, make: Callable[[Stub], Awaitable[Response]]) -> Response:
        """Make a call until it is answered; raise `CommandError` for what it answers instead.

        Every call is made with the same request, and all mutations are idempotent.
        """
        retrying = Retrying(self.patience_seconds)
        while True:
            try:
                return await make(self.stub)
            except aio.AioRpcError as error:
                if not await retrying.is_worth_it(error):
                    raise command_error(error, self.name, self.address) from error


class Retrying:
    """Decides whether a failed call is made again; `restart` after every sign of life."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self.restart()

    def restart(self) -> None:
        """Be patient anew."""
        self._deadline = time.monotonic() + self._patience_seconds

    async def is_worth_it(self, error: aio.AioRpcError) -> bool:
        """Pause and return True while the failure may pass; return False when it will not."""
        if error.code() not in TRANSIENT or time.monotonic() >= self._deadline:
            return False
        await asyncio.sleep(PAUSE_SECONDS)
        return True


@dataclass(frozen=True)
class Client:
    """The services of one system."""

    assembler: Peer[AssemblerServiceAsyncStub]
    linker: Peer[LinkerServiceAsyncStub]
    keymanager: Peer[KeymanagerServiceAsyncStub]
    policy: Peer[PolicyServiceAsyncStub]
    audit: Peer[AuditServiceAsyncStub]
    recovery: Peer[RecoveryServiceAsyncStub]
    knowledge: Peer[KnowledgeServiceAsyncStub]
    gas: Peer[GasServiceAsyncStub]
    market: Peer[MarketplaceServiceAsyncStub]
    runtime: Peer[RuntimeServiceAsyncStub]
    schedules: Peer[ScheduleServiceAsyncStub]


@asynccontextmanager
async def connect_system(home: Home) -> AsyncIterator[Client]:
    """Give the services of the system in a home folder; they are connected to when first used."""
    token, authority = home.operator_token(), home.authority()
    if not token or not authority:
        raise CommandError(
            f"there is no system in {home.folder}",
            reason="NOT_RUNNING",
            fix="start one: actionvm up --detach",
            exit_code=ExitCode.UNREACHABLE,
        )
    state = read_state(home)
    is_up = state is not None and state.is_alive
    services = state.services if state else {}
    async with AsyncExitStack() as stack:
        witness = await stack.enter_async_context(remembering(home.mark_file))

        async def peer(name: str, stub_of: Callable[[aio.Channel], Stub]) -> Peer[Stub]:
            child = services.get(name) or Child(addresses(PORT_BASE)[name])
            # What nobody starts again is not waited for.
            patience = PATIENCE_SECONDS if is_up and not child.failed else 0.0
            channel = await stack.enter_async_context(
                connect_with_token(
                    child.address,
                    name,
                    token=token,
                    authority=authority,
                    interceptors=witness.interceptors if name == "keymanager" else (),
                )
            )
            return Peer(name, child.address, stub_of(channel), patience)

        yield Client(
            assembler=await peer("assembler", assembler_pb2_grpc.AssemblerServiceStub),
            linker=await peer("linker", linker_pb2_grpc.LinkerServiceStub),
            keymanager=await peer("keymanager", keymanager_pb2_grpc.KeymanagerServiceStub),
            policy=await peer("keymanager", policy_pb2_grpc.PolicyServiceStub),
            audit=await peer("keymanager", audit_pb2_grpc.AuditServiceStub),
            recovery=await peer("keymanager", recovery_pb2_grpc.RecoveryServiceStub),
            knowledge=await peer("knowledge", knowledge_pb2_grpc.KnowledgeServiceStub),
            gas=await peer("gas", gas_pb2_grpc.GasServiceStub),
            market=await peer("gas", market_pb2_grpc.MarketplaceServiceStub),
            runtime=await peer("runtime", runtime_pb2_grpc.RuntimeServiceStub),
            schedules=await peer("runtime", schedules_pb2_grpc.ScheduleServiceStub),
        )


class Page(Protocol):
    """A page of a list."""

    next_page_token: str


async def all_pages(
    fetch: Callable[[str], Awaitable[PageT]],
    items_of: Callable[[PageT], Iterable[Item]],
    *,
    count_min: float = math.inf,
) -> list[Item]:
    """Return a whole list, or so many of it and the rest of their page.

    `fetch` gets the page of a token.
    """
    found: list[Item] = []
    token = ""
    while True:
        page = await fetch(token)
        found.extend(items_of(page))
        token = page.next_page_token
        if not token or len(found) >= count_min:
            return found


def command_error(error: aio.AioRpcError, peer: str, address: str) -> CommandError:
    """Turn a failed call into what the command says."""
    remote = remote_error(error)
    if not remote.reason and remote.code in (*TRANSIENT, grpc.StatusCode.DEADLINE_EXCEEDED):
        return CommandError(
            f"{peer} does not answer at {address}",
            reason="UNREACHABLE",
            fix="actionvm status says what runs, actionvm up --detach starts it",
            exit_code=ExitCode.UNREACHABLE,
        )
    if remote.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return CommandError(
            f"{peer} failed: {remote.message or remote.code.name}",
            reason=remote.reason or remote.code.name,
            fix=f"this is a bug in {peer}; its log says more",
            exit_code=ExitCode.RUN_FAILED,
        )
    unreachable = remote.code in TRANSIENT
    is_ours = remote.reason in ("", "PEER_UNAVAILABLE")
    return CommandError(
        remote.message,
        reason=remote.reason or remote.code.name,
        field=_field_of(error),
        fix="actionvm status says what runs" if unreachable and is_ours else "",
        exit_code=ExitCode.UNREACHABLE if unreachable else ExitCode.BAD_INPUT,
        problems=_problems_of(error),
    )


def problem_from_proto(problem: action_pb2.Problem) -> Problem:
    """Return a problem of a manifest as the command shows it."""
    severity = action_pb2.Problem.Severity.Name(problem.severity)
    return Problem(
        severity=severity.removeprefix("SEVERITY_").lower(),
        code=problem.code,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        field=problem.field,
        message=problem.message,
        fix=problem.fix,
    )


def _field_of(error: aio.AioRpcError) -> str:
    found = find_detail(error, error_details_pb2.BadRequest)
    request = cast("error_details_pb2.BadRequest | None", found)
    return ", ".join(violation.field for violation in request.field_violations) if request else ""


def _problems_of(error: aio.AioRpcError) -> tuple[Problem, ...]:
    found = cast("action_pb2.Problems | None", find_detail(error, action_pb2.Problems))
    return tuple(map(problem_from_proto, found.problems)) if found else ()
