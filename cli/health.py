"""Asks services whether they serve, and the kernel what their processes cost."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from platformd import protocol

from .errors import CommandError, ExitCode
from .home import Home
from .services import PLATFORM
from .state import Child, State, read_alive

PROBE_SECONDS = 1.0
UP_SECONDS = 60.0
POLL_SECONDS = 0.02
LOG_LINES = 8

# A service that comes up is found within a twentieth of a second, not at the next long pause.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 50),
)


@dataclass(frozen=True)
class Condition:
    """One service as it is now: `health` is serving, unreachable or failed."""

    service: str
    child: Child
    health: str
    memory_bytes: int
    uptime_seconds: float


async def is_serving(address: str, *, seconds: float = PROBE_SECONDS, wait: bool = False) -> bool:
    """Return whether a service says that it serves; `wait` gives it that long to appear."""
    async with aio.insecure_channel(address, options=_OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types are those of the sync API
        try:
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(), timeout=seconds, wait_for_ready=wait
            )
        except aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return False
            raise
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def is_reachable(socket_path: str) -> bool:
    """Return whether somebody listens on the socket of platformd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            with protocol.reachable(Path(socket_path)) as address:
                probe.connect(address)
        except OSError:
            return False
    return True


async def wait_until_serving(home: Home, state: State, on_ready: Callable[[str], None]) -> None:
    """Return when all serve; tell of each service; raise as soon as one stays down."""
    deadline = time.monotonic() + UP_SECONDS

    async def wait_for(service: str) -> None:
        while not await is_serving(state.services[service].address, wait=True):
            current = read_alive(home)
            if current is None or current.services[service].failed:
                raise failure(home, service, current.services[service] if current else None)
            if time.monotonic() > deadline:
                raise failure(home, service, current.services[service])
        on_ready(service)

    async def wait_for_platform() -> None:
        while not is_reachable(state.platform.address):
            current = read_alive(home)
            stuck = current is None or current.platform.failed or time.monotonic() > deadline
            if stuck:
                raise failure(home, PLATFORM.name, current.platform if current else None)
            await asyncio.sleep(POLL_SECONDS)

    tasks = [asyncio.create_task(wait_for(service)) for service in state.services]
    tasks.append(asyncio.create_task(wait_for_platform()))
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def examine(state: State) -> list[Condition]:
    """Return the condition of the platform and of every service."""
    serving = await asyncio.gather(
        *(is_serving(child.address) for child in state.services.values())
    )
    return [
        _condition(PLATFORM.name, state.platform, is_up=is_reachable(state.platform.address)),
        *(
            _condition(service, child, is_up=is_up)
            for (service, child), is_up in zip(state.services.items(), serving, strict=True)
        ),
    ]


def failure(home: Home, service: str, child: Child | None) -> CommandError:
    """Say why a service does not serve, with the end of its log."""
    cause = f" ({child.last_exit}, {child.restarts} restarts)" if child else ""
    log = "\n".join(f"  {line}" for line in home.tail(service, LOG_LINES))
    return CommandError(
        f"{service} does not start{cause}; its log ends with:\n{log}",
        reason="SERVICE_FAILED",
        fix=f"the whole log is {home.log_file(service)}; then: actionvm down && actionvm up",
        exit_code=ExitCode.UNREACHABLE,
    )


def _condition(service: str, child: Child, *, is_up: bool) -> Condition:
    memory, uptime = 0, 0.0
    if child.pid:
        try:
            process = psutil.Process(child.pid)
            memory = process.memory_full_info().pss
            uptime = time.time() - process.create_time()
        except psutil.Error:
            pass
    health = "serving" if is_up else "failed" if child.failed else "unreachable"
    return Condition(service, child, health, memory, uptime)
