"""The HTTP port of webhooks: `POST /hooks/{schedule id}`, answered when the firing is stored."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import h11
from sqlalchemy.exc import SQLAlchemyError

from chassis.clock import Clock
from chassis.errors import AddressTaken
from chassis.fields import UUID
from chassis.log import log
from chassis.seal import Seal

from ..errors import ScheduleNotFound
from .inbox import EventRefused, Inbox
from .schedule import EVENT_BYTES_MAX
from .signature import Unsigned, verify
from .store import QueueFull, SchedulePaused

CONNECTIONS_MAX = 100
# From the first byte of a request to the last one of its answer.
REQUEST_SECONDS_MAX = 10.0
HEADER_BYTES_MAX = 16 * 1024
READ_BYTES = 16 * 1024
LINGER_SECONDS_MAX = 1.0
STOP_SECONDS = 1.0
LINGER_BYTES_MAX = 1024 * 1024
# Of each schedule, once it is known who asks: so many at once, and so many a second for good.
BURST_MAX = 60
REQUESTS_PER_SECOND = 5.0
RETRY_SECONDS = 10

_PATH = re.compile(rf"/hooks/({UUID})")


@dataclass(frozen=True)
class Answer:
    """A status, what it says, and when to come again."""

    status: int
    content: Mapping[str, str]
    retry_after: int = 0


@dataclass(frozen=True)
class Request:
    """A whole request; names of headers are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Refused(Exception):
    """A request that is not read any further."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.answer = Answer(status, {"error": problem})


@dataclass
class Allowance:
    """How many requests a schedule may still take at a time."""

    time: datetime
    left: float = BURST_MAX

    def take(self, now: datetime) -> float:
        """Take one; return after how many seconds there is one, zero if there was."""
        passed = max((now - self.time).total_seconds(), 0.0)
        self.left = min(self.left + passed * REQUESTS_PER_SECOND, BURST_MAX)
        self.time = now
        if self.left < 1:
            return (1 - self.left) / REQUESTS_PER_SECOND
        self.left -= 1
        return 0.0


@dataclass
class Hooks:
    """Answers requests; one that is repeated is answered as before."""

    inbox: Inbox
    seal: Seal
    clock: Clock
    allowances: dict[str, Allowance] = field(default_factory=dict)
    connections_max: int = CONNECTIONS_MAX
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def listening(self, address: str) -> AsyncIterator[int]:
        """Answer on an address while the block runs; give the port. Raise `AddressTaken`."""
        host, _, port = address.rpartition(":")
        try:
            server = await asyncio.start_server(self._serve, host.strip("[]"), int(port))
        # A port of more than 65,535 is an `OverflowError`.
        except (OSError, OverflowError) as error:
            raise AddressTaken(
                f"webhooks cannot be taken on {address}: {error}; choose another address"
            ) from error
        try:
            taken = server.sockets[0].getsockname()[1]
            log.info("webhooks.started", address=f"{host}:{taken}")
            yield taken
        finally:
            server.close()
            await self._stop()
            await server.wait_closed()

    async def answer(self, request: Request) -> Answer:
        """Take a request for a schedule."""
        found = _PATH.fullmatch(request.path)
        if not found:
            return _refusal(404, "there is only /hooks/{schedule id}")
        if request.method != "POST":
            return _refusal(405, "only POST is taken")
        schedule, now = f"schedules/{found[1]}", self.clock.now()
        try:
            delivery = verify(self.seal, schedule, request.headers, request.body, now=now)
        except Unsigned as error:
            return _refusal(401, str(error))
        # Only who has a secret gets here, so that there is one for each schedule at most.
        pause = self.allowances.setdefault(schedule, Allowance(now)).take(now)
        if pause:
            return _refusal(429, "too many requests for this schedule", math.ceil(pause))
        return await self._take(schedule, delivery, request.body)

    async def _take(self, schedule: str, delivery: str, body: bytes) -> Answer:
        try:
            firing = await self.inbox.post(schedule, delivery, body)
        except EventRefused as error:
            return _refusal(400, error.message)
        except ScheduleNotFound:
            self.allowances.pop(schedule, None)
            return _refusal(410, "the schedule was deleted")
        except SchedulePaused:
            return _refusal(409, "the schedule is paused, or not in force at this time")
        except QueueFull:
            return _refusal(429, "too many firings wait", RETRY_SECONDS)
        except SQLAlchemyError:
            log.exception("schedules.unavailable")
            return _refusal(503, "try again", RETRY_SECONDS)
        return Answer(202, {"firing": firing.name})

    async def _stop(self) -> None:
        """Let requests be answered for a moment; then drop them, unanswered."""
        if self._tasks:
            _, late = await asyncio.wait([*self._tasks], timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine that runs has a task"
        self._tasks.add(task)
        try:
            # Beyond the limit nothing is read or said: whoever floods us costs us a connection.
            if len(self._tasks) <= self.connections_max:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            # The caller left, or was too slow, or we end; the task ends here in any case.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)
        try:
            request = await _read(connection, reader, writer)
            answer = await self.answer(request)
        except Refused as refused:
            answer = refused.answer
        except h11.RemoteProtocolError as error:
            answer = _refusal(error.error_status_hint, "this is no HTTP/1.1 request")
        content = json.dumps(dict(answer.content)).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        if answer.retry_after:
            headers.append(("Retry-After", str(answer.retry_after)))
        if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            head = h11.Response(status_code=answer.status, headers=headers)
            for event in (head, h11.Data(data=content), h11.EndOfMessage()):
                writer.write(connection.send(event) or b"")
            await writer.drain()
            await _linger(reader, writer)


async def _read(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request:
    head: h11.Request | None = None
    body = b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    writer.write(connection.send(go_on) or b"")
                connection.receive_data(await reader.read(READ_BYTES))
            case h11.Request() as head:
                length = dict(head.headers).get(b"content-length", b"0")
                if int(length) > EVENT_BYTES_MAX:
                    raise Refused(413, f"a body has at most {EVENT_BYTES_MAX} bytes")
            case h11.Data() as part:
                body += part.data
                if len(body) > EVENT_BYTES_MAX:
                    raise Refused(413, f"a body has at most {EVENT_BYTES_MAX} bytes")
            case h11.EndOfMessage():
                assert head is not None, "a message begins with its head"
                headers = {
                    name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers
                }
                return Request(
                    head.method.decode("latin-1"), head.target.decode("latin-1"), headers, body
                )
            case _:
                raise ConnectionResetError


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the caller read the answer: closing with bytes unread would take it from him."""
    writer.write_eof()
    left = LINGER_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS_MAX):
            while left > 0 and (part := await reader.read(READ_BYTES)):
                left -= len(part)


def _refusal(status: int, problem: str, retry_after: int = 0) -> Answer:
    return Answer(status, {"error": problem}, retry_after)
