"""The fixtures of pytest-grpc, with its names, over a real `grpc.aio` server.

pytest-grpc hosts sync servicers only. A module that tests a service defines two fixtures,
`hosted_service` and `grpc_stub_cls`, and uses `grpc_stub` (the operator) or `grpc_stub_as(caller)`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc
import pytest

from chassis.config import ServiceConfig
from chassis.identity import OPERATOR, PEOPLE, Token, format_identities, hash_token
from chassis.server import Hosted, start_server

CALLERS = ("assembler", "linker", "keymanager", "knowledge", "gas", "runtime", *sorted(PEOPLE))

HostedFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[Hosted]]
StubAs: TypeAlias = Callable[[str], Any]


def token_of(caller: str) -> str:
    """Return the token that tests give to a caller."""
    return f"token-of-{caller}"


def identities() -> dict[str, Token]:
    """Return what is known about the tokens of tests: without TLS, services have some, too."""
    return {hash_token(token_of(caller)): Token(caller, caller) for caller in CALLERS}


def identities_json() -> str:
    """Return what an identities file of tests holds."""
    return format_identities(identities()).decode()


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    """Return an async context manager that builds the service under test. Modules override it."""
    raise AssertionError("the test module must define the fixture hosted_service")


@pytest.fixture(scope="module")
def grpc_server(
    hosted_service: HostedFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Serve on a free port in a loop of its own thread, and return the address."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        token_file=folder / "token",
        tls="off",
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    address: asyncio.Future[str] = loop.create_future()
    stop = asyncio.Event()

    async def serve() -> None:
        async with hosted_service() as hosted:
            server = await start_server(config, hosted)
            address.set_result(server.address)
            await stop.wait()
            await server.grpc_server.stop(0)

    async def read_address() -> str:
        return await address

    serving = asyncio.run_coroutine_threadsafe(serve(), loop)
    serving.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        yield asyncio.run_coroutine_threadsafe(read_address(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        serving.result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture(scope="module")
def grpc_addr(grpc_server: str) -> str:
    """Return the address of the server."""
    return grpc_server


@pytest.fixture(scope="module")
def grpc_create_channel(grpc_addr: str) -> Iterator[Callable[[str], grpc.Channel]]:
    """Return a function that opens a channel with a token; it closes them all at the end."""
    channels: list[grpc.Channel] = []

    def create(token: str) -> grpc.Channel:
        channels.append(grpc.insecure_channel(grpc_addr))
        return grpc.intercept_channel(channels[-1], _TokenInterceptor(token))

    yield create
    for channel in channels:
        channel.close()


@pytest.fixture(scope="module")
def grpc_stub_as(
    grpc_stub_cls: Callable[[grpc.Channel], Any],
    grpc_create_channel: Callable[[str], grpc.Channel],
) -> StubAs:
    """Return a function that gives the stub of a caller, such as `runtime`."""
    return lambda caller: grpc_stub_cls(grpc_create_channel(token_of(caller)))


@pytest.fixture(scope="module")
def grpc_stub(grpc_stub_as: StubAs) -> Any:  # noqa: ANN401  # the stub of the module
    """Return the stub of the operator."""
    return grpc_stub_as(OPERATOR)


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    def __init__(self, token: str) -> None:
        self._token = token

    def _details(self, details: grpc.ClientCallDetails) -> Any:  # noqa: ANN401  # as in grpc
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._token}")]
        return details._replace(metadata=metadata)  # type: ignore[attr-defined]  # a named tuple

    def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        return continuation(self._details(client_call_details), request)

    def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: object,
    ) -> Any:  # noqa: ANN401  # as in grpc
        return continuation(self._details(client_call_details), request)
