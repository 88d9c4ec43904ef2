"""Chat completions that travel through services with addresses, keys and frames of their own."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx2
from openai import APIStatusError

from ..links import ListedModel
from ..settings import ProviderSettings
from .connections import timeouts, transport
from .known import Known, told_of
from .openai import OpenAiProvider
from .openai_servers import COMPATIBLE, show
from .wire import MALFORMED, Failure

# Where requests go until they are carried; no such host can exist.
NOWHERE = "http://carried.invalid"
ERROR_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 4 * 1024 * 1024
WHOLE_BYTES_MAX = 32 * 1024 * 1024

_EVENTS = {"content-type": "text/event-stream"}
_KEPT = ("date", "retry-after", "retry-after-ms")
# Says that it was the model that refused, so that it is there.
_BY_MODEL = "x-refused-by-model"


class Carrier(httpx2.AsyncBaseTransport, ABC):
    """Takes a chat completion where it belongs, and brings back events as OpenAI sends them."""

    def __init__(self, *, streams: bool) -> None:
        """Without `streams`, answers come whole."""
        self._streams = streams
        self._inner = transport()

    @abstractmethod
    def address(self, secret: str, model: str, body: dict[str, Any]) -> httpx2.Request:
        """Return the request as the service takes it; its body has no model."""

    @abstractmethod
    def understand(
        self, response: httpx2.Response, said: bytes, secret: str
    ) -> tuple[Failure, bool]:
        """Return what a refusal means, and whether it is one of the model itself."""

    def unpack(self, response: httpx2.Response) -> tuple[str, AsyncIterator[bytes]]:
        """Return the type of what the model says, and its pieces."""
        assert isinstance(response.stream, httpx2.AsyncByteStream), "this transport is asynchronous"
        return response.headers.get("content-type", ""), aiter(response.stream)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry one request."""
        body = json.loads(await request.aread())
        wants_events = body.get("stream", False)
        if not self._streams:
            body = {name: body[name] for name in body if name not in ("stream", "stream_options")}
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        carried = self.address(secret, body.pop("model"), body)
        carried.extensions = request.extensions
        response = await self._inner.handle_async_request(carried)
        if response.status_code != httpx2.codes.OK:
            return await self._refusal(response, secret)
        kind, pieces = self.unpack(response)
        if kind.partition(";")[0].strip() != "application/json":
            return httpx2.Response(200, headers=_EVENTS, stream=_Events(response, pieces))
        try:
            whole = await _read(pieces, WHOLE_BYTES_MAX)
            return _whole(whole, wants_events=wants_events)
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _refusal(self, response: httpx2.Response, secret: str) -> httpx2.Response:
        try:
            _, pieces = Carrier.unpack(self, response)
            failure, by_model = self.understand(
                response, await _read(pieces, ERROR_BYTES_MAX), secret
            )
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        headers |= {_BY_MODEL: "yes"} if by_model else {}
        error = {"message": failure.text, "code": failure.code}
        return httpx2.Response(failure.status, headers=headers, json={"error": error})


class CarriedProvider(OpenAiProvider):
    """Models that are asked as OpenAI's are, by a carrier."""

    def __init__(self, settings: ProviderSettings, carrier: Carrier) -> None:
        http = httpx2.AsyncClient(
            transport=carrier, timeout=timeouts(settings), follow_redirects=False
        )
        super().__init__(replace(settings, kind=COMPATIBLE, url=NOWHERE), http)
        self.needs = "a key"

    async def models(self) -> list[ListedModel]:
        """Return none: they are not told without a key."""
        return []

    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for nothing: that starts nothing, and shows whether model and key are there."""
        try:
            await self.client.chat.completions.create(
                model=model, messages=[], max_tokens=1, extra_headers=show(self.settings, secret)
            )
        except APIStatusError as error:
            refused = error.status_code == httpx2.codes.BAD_REQUEST
            if not refused and _BY_MODEL not in error.response.headers:
                raise
        return told_of(self.settings, model, None)


def message_of(said: bytes) -> str:
    """Return what an error says in words."""
    text = said.decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    found = found.get("error", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping):
        return str(found)
    words = (found.get(name) for name in ("message", "Message", "detail"))
    return next((word for word in words if isinstance(word, str) and word), text)


class _Events(httpx2.AsyncByteStream):
    """Lines of JSON, or events with such lines, as events, however they were cut."""

    def __init__(self, response: httpx2.Response, pieces: AsyncIterator[bytes]) -> None:
        self._response = response
        self._pieces = pieces

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        rest = b""
        async for piece in self._pieces:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                raise httpx2.ReadError("a line does not end")
            if lines:
                yield b"".join(map(_event, lines))
        yield _event(rest)

    async def aclose(self) -> None:
        await self._response.aclose()


def _event(line: bytes) -> bytes:
    return b"data: " + line + b"\n\n" if line.startswith(b"{") else line + b"\n"


async def _read(pieces: AsyncIterator[bytes], size_max: int) -> bytes:
    """Return what comes, or the beginning of it."""
    read = bytearray()
    async for piece in pieces:
        read += piece
        if len(read) >= size_max:
            break
    return bytes(read[:size_max])


def _whole(said: bytes, *, wants_events: bool) -> httpx2.Response:
    """Return an answer that came whole, as the one event that it would have been."""
    try:
        answer = json.loads(said)
        # A script that returns a text has it written as JSON once more.
        answer = json.loads(answer) if isinstance(answer, str) else answer
        if not wants_events:
            return httpx2.Response(200, json=answer)
        for choice in answer["choices"]:
            choice["delta"] = choice.pop("message")
            for index, call in enumerate(choice["delta"].get("tool_calls") or ()):
                call["index"] = index
    except MALFORMED:
        error = {"message": "it says what nobody understands"}
        return httpx2.Response(502, json={"error": error})
    content = b"data: " + json.dumps(answer).encode() + b"\n\ndata: [DONE]\n\n"
    return httpx2.Response(200, headers=_EVENTS, content=content)
