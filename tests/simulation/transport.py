"""Simulated gRPC: it plays `aio.Channel` for stubs and `aio.Server` for servicers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
from grpc import aio

from chassis.channel import DEADLINE_SECONDS
from chassis.identity import Token
from chassis.server import Hosted
from tests.grpc_fixtures import token_of

if TYPE_CHECKING:
    from .world import Process, World

ATTEMPTS_MAX = 4

Handler: TypeAlias = Any  # grpc.RpcMethodHandler, which is generic in the stubs only
Handlers: TypeAlias = Mapping[str, Handler]
Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[bytes], Any]


async def collect_handlers(hosted: Hosted, identities: Mapping[str, Token]) -> Handlers:
    """Return path -> handler of a service, behind its real interceptor."""
    bare: dict[str, Handler] = {}
    hosted.add_to(_Recorder(bare))
    interceptor = hosted.interceptor(identities)
    wrapped = {}
    for path, handler in bare.items():

        async def found(_: object, handler: Handler = handler) -> Handler:
            return handler

        wrapped[path] = await interceptor.intercept_service(found, _CallDetails(path))
    return wrapped


class Channel:
    """The part of `aio.Channel` that generated stubs use."""

    def __init__(self, world: World, *, caller: str, target: str) -> None:
        self._world = world
        self._caller = caller
        self._target = target

    def unary_unary(
        self, path: str, request_serializer: Encode, response_deserializer: Decode, **_: object
    ) -> Callable[..., Awaitable[Any]]:
        """Return what a stub calls for one response."""

        async def call(
            request: object,
            timeout: float | None = None,  # noqa: ASYNC109  # as in grpc
            **_: object,
        ) -> Any:  # noqa: ANN401  # a message
            try:
                async with asyncio.timeout(timeout or DEADLINE_SECONDS):
                    response = await self._attempts(path, request_serializer(request))
            except TimeoutError:
                raise _rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED) from None
            return response_deserializer(response)

        return call

    def unary_stream(
        self, path: str, request_serializer: Encode, response_deserializer: Decode, **_: object
    ) -> Callable[..., _Stream]:
        """Return what a stub calls for a stream of responses."""

        def call(request: object, timeout: float | None = None, **_: object) -> _Stream:
            del timeout  # streams of this system end by cancellation, not by deadline
            return _Stream(
                self._responses(path, request_serializer(request)), response_deserializer
            )

        return call

    async def _attempts(self, path: str, request: bytes) -> bytes:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._attempt(path, request)
            except aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS_MAX:
                    raise
            await asyncio.sleep(0.1 * 2**attempt * self._world.random.random())
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, path: str, request: bytes) -> bytes:
        world = self._world
        process, handler = await self._reach(path)

        async def serve() -> bytes:
            decoded = handler.request_deserializer(request)
            response = await handler.unary_unary(decoded, _Context(self._world, self._caller))
            return bytes(handler.response_serializer(response))

        async def serve_again() -> None:
            await world.delay()
            with suppress(Exception):
                await serve()

        if world.draws(world.faults.duplicate_probability):
            world.note(f"{path} duplicated")
            process.spawn(serve_again())
        response: bytes = await _outcome(process.spawn(serve()))
        await world.delay()
        if world.draws(world.faults.break_probability):
            world.note(f"{path} response lost")
            raise _rpc_error(grpc.StatusCode.UNAVAILABLE)
        return response

    async def _responses(self, path: str, request: bytes) -> AsyncIterator[bytes]:
        world = self._world
        process, handler = await self._reach(path)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)

        async def serve() -> None:
            decoded = handler.request_deserializer(request)
            context = _Context(world, self._caller)
            try:
                async for response in handler.unary_stream(decoded, context):
                    await queue.put(bytes(handler.response_serializer(response)))
            finally:
                await queue.put(None)

        task = process.spawn(serve())
        # A killed process puts no end into its queue.
        task.add_done_callback(lambda _: None if queue.full() else queue.put_nowait(None))
        try:
            while (item := await queue.get()) is not None:
                await world.delay()
                if world.draws(world.faults.break_probability / 4):
                    world.note(f"{path} stream broken")
                    raise _rpc_error(grpc.StatusCode.UNAVAILABLE)
                yield item
            await _outcome(task)
        finally:
            task.cancel()

    async def _reach(self, path: str) -> tuple[Process, Handler]:
        """Travel to the other side; raise UNAVAILABLE if that fails or nobody is there."""
        from .world import check_alive  # noqa: PLC0415  # world and transport know each other

        check_alive()
        world = self._world
        await world.delay()
        process = world.processes[self._target]
        # A process that only reads commits nothing; it dies when it is asked.
        if process.life is not None and world.draws(world.faults.kill_probability / 2):
            process.kill()
        is_lost = world.draws(world.faults.break_probability)
        if is_lost or world.is_parted(self._caller, self._target) or process.handlers is None:
            world.note(f"{self._caller} {path} request lost")
            raise _rpc_error(grpc.StatusCode.UNAVAILABLE)
        world.note(f"{self._caller} {path}")
        return process, process.handlers[path]


class _Stream:
    """The part of `aio.UnaryStreamCall` that clients use."""

    def __init__(self, responses: AsyncIterator[bytes], decode: Decode) -> None:
        self._responses: Any = responses
        self._decode = decode
        self._cancelled = False

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  # a message
        if self._cancelled:
            raise asyncio.CancelledError
        return self._decode(await self._responses.__anext__())

    def cancel(self) -> bool:
        """Stop the work on the other side."""
        self._cancelled = True
        task = asyncio.get_running_loop().create_task(self._responses.aclose())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return True


async def _outcome(task: asyncio.Task[Any]) -> Any:  # noqa: ANN401  # what the task returns
    """Wait for a handler; the death of its process looks like a broken connection."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        raise
    error = None if task.cancelled() else task.exception()
    if task.cancelled() or (error is not None and not isinstance(error, Exception)):
        raise _rpc_error(grpc.StatusCode.UNAVAILABLE)
    if error is not None:
        raise error
    return task.result()


class _Recorder:
    """The part of `aio.Server` that generated code uses."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        pass

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        self._handlers.update({f"/{service}/{name}": handlers[name] for name in handlers})


class _CallDetails(grpc.HandlerCallDetails):
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


class _Context:
    """The part of `aio.ServicerContext` that our services use."""

    def __init__(self, world: World, caller: str) -> None:
        self._world = world
        self._metadata = (("authorization", f"Bearer {token_of(caller)}"),)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> None:
        """Return that the caller waits as long as it takes; it cancels, if anything."""

    def set_trailing_metadata(self, metadata: object) -> None:
        """Drop it: a simulated caller remembers nothing of the log of the key manager."""

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, bytes], ...] = (),
    ) -> NoReturn:
        if code == grpc.StatusCode.INTERNAL:
            self._world.bugs.append(sys.exc_info()[1] or AssertionError(details))
        raise aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing_metadata), details, None)


def _rpc_error(code: grpc.StatusCode) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), "simulated", None)
