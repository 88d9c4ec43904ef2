"""Webhooks: who is let in, what is taken, and that nobody else gets anything."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from chassis.errors import AddressTaken
from chassis.seal import Seal
from runtime.schedules import hooks as hooks_module
from runtime.schedules.hooks import BURST_MAX, HEADER_BYTES_MAX, Hooks
from runtime.schedules.inbox import Inbox
from runtime.schedules.schedule import EVENT_BYTES_MAX, WAITING_MAX, State
from runtime.schedules.signature import read_key
from runtime.schedules.store import ScheduleStore
from tests.runtime.schedules.offices import Office
from tests.runtime.schedules.schedules import MINUTELY, NAME, NOW, a_schedule, a_webhook
from tests.runtime.worlds import until

SEAL = Seal(b"k" * 32)
BODY = b'{"order": 7}'
PATH = NAME.replace("schedules", "/hooks")


class Door:
    """The port of an office, and somebody who calls it."""

    def __init__(self, office: Office, hooks: Hooks, port: int, http: httpx.AsyncClient) -> None:
        self.office = office
        self.hooks = hooks
        self.port = port
        self.http = http

    async def post(
        self,
        body: bytes = BODY,
        *,
        delivery: str = "d-1",
        seconds: float = 0,
        seal: Seal = SEAL,
        path: str = PATH,
        **headers: str,
    ) -> httpx.Response:
        """Post what is signed, so long after the start of the test; headers replace others."""
        time = NOW + timedelta(seconds=seconds)
        signed = seal.headers(NAME, event_id=delivery, time=time, body=body)
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, content=body, headers=signed)

    async def send(self, raw: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def opened(office: Office) -> AsyncIterator[Door]:
    """Open the port of an office."""
    hooks = Hooks(Inbox(office.store, office.clock, office.bell), SEAL, office.clock)
    async with (
        hooks.listening("127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        yield Door(office, hooks, port, http)


@pytest.fixture
async def door(office: Office) -> AsyncIterator[Door]:
    office.keep(a_webhook())
    async with opened(office) as made:
        yield made


async def test_a_signed_request_is_answered_when_its_firing_is_stored(door: Door) -> None:
    answer = await door.post()
    assert (answer.status_code, answer.json()) == (202, {"firing": f"{NAME}/firings/1"})
    (firing,) = door.office.firings
    assert (firing.key, firing.event, firing.state) == ("d-1", '{"order":7}', State.WAITING)
    assert door.office.bell.is_set()


async def test_a_delivery_that_comes_again_fires_once(door: Door) -> None:
    first = await door.post()
    again = await door.post(seconds=60)
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(door.office.firings) == 1


async def test_one_of_several_signatures_is_enough(door: Door) -> None:
    signed = SEAL.headers(NAME, event_id="d-1", time=NOW, body=BODY)["webhook-signature"]
    assert (await door.post(webhook_signature=f"v1,x v2,y {signed}")).status_code == 202


@pytest.mark.parametrize(
    "wrong",
    [
        {"seal": Seal(b"x" * 32)},
        {"path": PATH[:-1] + "2"},
        {"webhook_id": "d-2"},
        {"webhook_timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook_signature": ""},
        {"webhook_signature": "v1,"},
        {"webhook_id": ""},
        {"webhook_id": "a b"},
        {"webhook_id": "a" * 129},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "-1"},
        {"webhook_timestamp": "99999999999"},
        {"webhook_timestamp": "9" * 40},
        {"seconds": 301},
        {"seconds": -301},
    ],
)
async def test_who_does_not_prove_himself_gets_nothing(door: Door, wrong: dict[str, Any]) -> None:
    answer = await door.post(**wrong)
    assert answer.status_code == 401
    assert door.office.firings == []


async def test_a_signature_is_for_its_body(door: Door) -> None:
    signed = SEAL.headers(NAME, event_id="d-1", time=NOW, body=BODY)
    answer = await door.http.post(PATH, content=b'{"order": 8}', headers=signed)
    assert answer.status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100 + b"]" * 100, b"NaN"])
async def test_what_is_no_json_is_refused(door: Door, body: bytes) -> None:
    answer = await door.post(body)
    assert (answer.status_code, door.office.firings) == (400, [])
    assert "must be JSON" in answer.json()["error"]


async def test_a_body_that_is_too_long_is_not_read(door: Door) -> None:
    large = b'"' + b"a" * EVENT_BYTES_MAX + b'"'
    assert (await door.post(large)).status_code == 413
    chunks = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    part = b"2000\r\n" + b"a" * 0x2000 + b"\r\n"
    assert (await door.send(chunks + 3 * part)).startswith(b"HTTP/1.1 413")


async def test_the_largest_event_is_taken(door: Door) -> None:
    large = json.dumps("a" * (EVENT_BYTES_MAX - 2)).encode()
    assert (await door.post(large)).status_code == 202


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
        (f"POST {PATH}/../x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
        ("this is no HTTP\r\n\r\n", 400),
        (f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX: {'a' * 3 * HEADER_BYTES_MAX}\r\n\r\n", 431),
        # Two lengths, as those send who smuggle requests.
        (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
    ],
)
async def test_what_is_no_such_request_is_refused(door: Door, raw: str, status: int) -> None:
    assert (await door.send(raw.encode())).startswith(f"HTTP/1.1 {status} ".encode())


async def test_who_asks_whether_to_go_on_is_told(door: Door) -> None:
    signed = SEAL.headers(NAME, event_id="d-1", time=NOW, body=BODY)
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Expect: 100-continue"]
    lines += [f"Content-Length: {len(BODY)}", *(f"{k}: {v}" for k, v in signed.items())]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(BODY)
    assert (await reader.read()).startswith(b"HTTP/1.1 202")
    writer.close()


async def test_who_is_slow_is_not_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "REQUEST_SECONDS_MAX", 0.05)
    assert await door.send(b"POST ") == b""


async def test_connections_beyond_the_limit_are_closed(door: Door) -> None:
    door.hooks.connections_max = 1
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST ")
    await until(lambda: door.hooks._tasks)
    assert await door.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    writer.close()
    await until(lambda: not door.hooks._tasks)
    assert (await door.post()).status_code == 202


async def test_the_end_does_not_wait_for_who_is_slow(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "STOP_SECONDS", 0.01)
    async with asyncio.timeout(5):
        async with opened(office) as door:
            _, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(b"POST ")
            await until(lambda: door.hooks._tasks)
    assert not door.hooks._tasks
    writer.close()


async def test_so_many_requests_are_taken_and_then_a_few_a_second(door: Door) -> None:
    codes = [(await door.post()).status_code for _ in range(BURST_MAX + 1)]
    assert codes == [202] * BURST_MAX + [429]
    refused = await door.post()
    assert refused.headers["retry-after"] == "1"
    door.office.clock.advance(1)
    codes = [(await door.post()).status_code for _ in range(6)]
    assert codes == [202] * 5 + [429]


async def test_who_has_no_secret_uses_up_nobody_s_allowance(door: Door) -> None:
    for _ in range(BURST_MAX + 1):
        await door.post(webhook_signature="v1,x")
    assert (await door.post()).status_code == 202


def pause(office: Office) -> None:
    """Pause the schedule."""
    office.store.update(NAME, NOW, is_paused=True, bundle="")


def fill(office: Office) -> None:
    """Let as many firings wait as may."""
    for number in range(WAITING_MAX):
        office.store.offer(NAME, f"w-{number}", "1", NOW)


def replace(office: Office) -> None:
    """Have another kind of schedule under the name."""
    office.store.delete(NAME)
    office.keep(a_schedule(MINUTELY))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (pause, 409),
        (fill, 429),
        (replace, 410),
        (lambda office: office.store.delete(NAME), 410),
    ],
)
async def test_what_cannot_be_taken_is_said_to_be(
    door: Door, change: Callable[[Office], object], status: int
) -> None:
    change(door.office)
    answer = await door.post()
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 429)


async def test_a_database_that_is_down_is_tried_again_by_the_caller(office: Office) -> None:
    class Down(ScheduleStore):
        """Does not answer."""

        def get(self, name: str) -> Any:  # noqa: ANN401  # never returns
            raise OperationalError("", {}, Exception())

    office.keep(a_webhook())
    office.store = Down(office.engine)
    async with opened(office) as door:
        answer = await door.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.key"
    made = read_key(path)
    assert read_key(path) == made
    assert len(made) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="fewer than 32 bytes"):
        read_key(path)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "nobody.invalid:80", "taken"])
async def test_an_address_that_cannot_be_had_is_named(door: Door, address: str) -> None:
    if address == "taken":
        address = f"127.0.0.1:{door.port}"
    with pytest.raises(AddressTaken, match="choose another address"):
        async with door.hooks.listening(address):
            pass
