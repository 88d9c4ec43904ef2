"""What happens around every call on the server's side: authorization, errors, one log line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from .errors import InvalidField, ServiceError, Unavailable
from .fields import REQUEST_ID
from .identity import Authorizer, Caller, Shown
from .log import log
from .witness import MARK, WitnessedLog, read_mark

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

    # These generics exist in the stubs of grpcio only.
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = aio.ServicerContext[Any, Any]
    DetailsOf: TypeAlias = Callable[[ServiceError], Sequence[Message]]

RETRY_SECONDS = 1


def no_certificate(_: Context) -> bytes:
    """Say that nobody shows a certificate, as it is where TLS is off."""
    return b""


def no_details(_: ServiceError) -> Sequence[Message]:
    """Add nothing to what every error carries."""
    return ()


class RpcInterceptor(aio.ServerInterceptor):
    """Authorizes, turns errors into `google.rpc.Status`, and writes one canonical log line.

    `open_prefixes` are services that anybody may call, such as health; `witnessed` is a log of
    which callers remember the end.
    """

    def __init__(
        self,
        *,
        domain: str,
        authorizer: Authorizer,
        details_of: DetailsOf = no_details,
        certificate_of: Callable[[Context], bytes] = no_certificate,
        open_prefixes: Sequence[str] = (),
        witnessed: WitnessedLog | None = None,
    ) -> None:
        self._domain = domain
        self._witnessed = witnessed
        self._authorizer = authorizer
        self._details_of = details_of
        self._certificate_of = certificate_of
        self._open_prefixes = tuple(open_prefixes)
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the behaviour of a method, unary or server stream; each one once."""
        path = handler_call_details.method
        if known := self._guarded.get(path):
            return known
        handler = await continuation(handler_call_details)
        if handler is None or path.startswith(self._open_prefixes):
            return handler  # type: ignore[return-value]  # None: gRPC answers UNIMPLEMENTED
        self._guarded[path] = guarded = self._guard(path.rpartition("/")[2], handler)
        return guarded

    def _guard(self, method: str, handler: Handler) -> Handler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            unary = self._guard_unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(unary, **codec)
        assert handler.unary_stream is not None, "no service of ours takes a stream of requests"
        stream = self._guard_stream(method, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(stream, **codec)

    def _guard_unary(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: object, context: Context) -> object:
            call = _Call(method, request)
            try:
                call.caller = self._authorizer.authorize(method, self._shown(context))
                self._heed(context)
                response = await behaviour(request, context)
                self._mark(context)
            except Exception as error:  # noqa: BLE001  # the boundary of the process
                await self._abort(call, context, error)
            call.finish("OK")
            return response

        return guarded

    def _guard_stream(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: object, context: Context) -> AsyncIterator[object]:
            call = _Call(method, request)
            try:
                shown = self._shown(context)
                call.caller = self._authorizer.authorize(method, shown)
                self._heed(context)
                # Closed at once when the caller goes away, so that the work behind it stops.
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        self._authorizer.check_again(method, shown)
                        yield response
                self._mark(context)
            except Exception as error:  # noqa: BLE001  # the boundary of the process
                await self._abort(call, context, error)
            call.finish("OK")

        return guarded

    def _heed(self, context: Context) -> None:
        if self._witnessed is not None:
            self._witnessed.heed(read_mark(context.invocation_metadata()))

    def _mark(self, context: Context) -> None:
        if self._witnessed is not None:
            context.set_trailing_metadata(((MARK, self._witnessed.mark),))

    def _shown(self, context: Context) -> Shown:
        return Shown(_authorization(context), self._certificate_of(context))

    async def _abort(self, call: _Call, context: Context, error: Exception) -> NoReturn:
        status = status_of(error, self._domain, self._details_of)
        code = _CODES[status.code]
        reason = error.reason if isinstance(error, ServiceError) else "INTERNAL"
        bug = None if isinstance(error, ServiceError) else error
        call.finish(code.name, reason=reason, bug=bug)
        trailer = ("grpc-status-details-bin", status.SerializeToString())
        await context.abort(code, status.message, (trailer,))
        raise AssertionError("abort raises")


def domain_of(contract: ServiceDescriptor) -> str:
    """Return the `ErrorInfo.domain` of a service, such as `gas.actionvm`."""
    return f"{contract.full_name.split('.')[1]}.actionvm"


def status_of(
    error: Exception, domain: str, details_of: DetailsOf = no_details
) -> status_pb2.Status:
    """Describe an error as the caller may see it; of a bug it sees nothing."""
    if not isinstance(error, ServiceError):
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=domain)
        return _status("INTERNAL", "internal error", [info])
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
    ]
    if isinstance(error, InvalidField):
        bad_request = error_details_pb2.BadRequest()
        fields = error.metadata
        bad_request.field_violations.add(field=fields["field"], description=fields["problem"])
        details.append(bad_request)
    if isinstance(error, Unavailable):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = RETRY_SECONDS
        details.append(retry)
    return _status(error.code, str(error), [*details, *details_of(error)])


def _status(code: str, message: str, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=grpc.StatusCode[code].value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


class _Call:
    """One call, for its line in the log."""

    def __init__(self, method: str, request: object) -> None:
        self.method = method
        # What is no request id may be anything, also a secret in the wrong field.
        named = getattr(request, "request_id", "")
        self.request_id = named if REQUEST_ID.fullmatch(named) else ""
        self.caller = Caller("", "")
        self._start = time.perf_counter()

    def finish(self, code: str, *, reason: str = "", bug: Exception | None = None) -> None:
        milliseconds = round((time.perf_counter() - self._start) * 1e3, 2)
        fields = {
            "method": self.method,
            "request_id": self.request_id,
            "caller": self.caller.role,
            "name": self.caller.name,
            "code": code,
            "reason": reason,
            "duration_ms": milliseconds,
        }
        if bug is not None:
            log.error("rpc.failed", **fields, exc_info=bug)
        else:
            log.info("rpc.finished", **fields)


def _authorization(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else ""
    return ""


_CODES = {code.value[0]: code for code in grpc.StatusCode}
