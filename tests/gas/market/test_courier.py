"""Whatever a receiver does, the courier comes back in time and says what became of the event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from chassis.courier import ANSWER_BYTES_MAX, Answer, HttpCourier
from tests.fakes.receiver import Fault, Receiver
from tests.gas.ledgers import HandSetClock

URL = "https://market.example/hooks"
SHORT = 0.2


class Body(httpx.AsyncByteStream):
    """A body that comes in parts of a thousand bytes, as from a network."""

    def __init__(self, part_count: int) -> None:
        self._part_count = part_count
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._part_count):
            self.sent += 1_000
            yield b"canary  " * 125


def _answering(status: int, **headers: str) -> httpx.MockTransport:
    return httpx.MockTransport(
        lambda _: httpx.Response(
            status,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            stream=Body(1),
        )
    )


async def _post(transport: httpx.AsyncBaseTransport | None, url: str = URL) -> Answer:
    async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
        courier = HttpCourier(http, HandSetClock(), seconds_max=SHORT)
        return await courier.post(url, {"webhook-id": "e"}, b"{}")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_every_status_of_success_is_one(status: int) -> None:
    assert await _post(_answering(status)) == Answer()


@pytest.mark.parametrize("status", [199, 300, 301, 302, 307, 308, 400, 404, 410, 500, 503])
async def test_every_other_status_is_a_failure_and_is_followed_nowhere(status: int) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        headers = {"location": "http://169.254.169.254/"}
        return httpx.Response(status, headers=headers, stream=Body(1))

    assert await _post(httpx.MockTransport(answer)) == Answer(f"HTTP {status}")
    assert asked == [URL]


async def test_a_receiver_that_says_too_much_is_not_listened_to() -> None:
    drip = Body(10**6)

    answer = await _post(httpx.MockTransport(lambda _: httpx.Response(200, stream=drip)))

    assert answer == Answer()
    assert drip.sent <= ANSWER_BYTES_MAX + 1_000


async def test_a_receiver_that_hangs_has_its_time_and_no_more() -> None:
    receiver = Receiver()
    receiver.faults.append(Fault(hangs=True))
    async with receiver.listening():
        assert await _post(None, receiver.url) == Answer(f"no answer within {SHORT} s")


async def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    async with Receiver().listening() as receiver:
        url = receiver.url

    assert (await _post(None, url)).error == "connection failed: ConnectError"


async def test_a_demand_for_time_is_passed_on() -> None:
    answer = await _post(_answering(429, retry_after="30"))

    assert answer == Answer("HTTP 429", timedelta(seconds=30))


async def test_nothing_of_an_answer_but_its_status_is_kept() -> None:
    answer = await _post(_answering(500, x_told="canary"))

    assert "canary" not in repr(answer)
