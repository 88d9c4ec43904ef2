"""Answers in events: how they are cut, put together, and where they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from linker.conversation import Delta, Tokens
from linker.providers.events import EVENT_BYTES_MAX, Events, merged, posted
from linker.providers.wire import FailureTold

LINES = st.sampled_from(
    ["data: {}", 'data:{"a": "é"}', "data: ", "data: [DONE]", "event: ping", ": ping", "id: 7", "x"]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n"])))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def cut(stream: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield a stream in pieces of such sizes, in turn."""
    while stream and sizes:
        for size in sizes:
            yield stream[:size]
            stream = stream[size:]


@given(parts=STREAMS, sizes=st.lists(st.integers(1, 9), min_size=1))
def test_events_are_those_that_the_package_reads(
    parts: list[tuple[str, str]], sizes: list[int]
) -> None:
    stream = "".join(line + end for line, end in parts).encode()
    events = Events()
    read = [event for piece in cut(stream, sizes) for event in events.take(piece)]
    said = [event.data.encode() for event in SSEDecoder().iter_bytes(iter([stream]))]
    # An event without data is none for us, and what says nothing else is nowhere sent.
    assert [event for event in read if event] == [event for event in said if event]


def test_an_event_that_does_not_end_is_given_up() -> None:
    events = Events()
    with pytest.raises(FailureTold):
        for _ in range(EVENT_BYTES_MAX // 1_000 + 1):
            assert not list(events.take(b"data: " + b"x" * 994))


def test_a_stream_may_be_longer_than_an_event() -> None:
    events = Events()
    piece = b"data: " + b"x" * 1_000_000 + b"\n\n: ping\n\n"
    assert sum(1 for _ in range(10) for _ in events.take(piece)) == 10


def deltas(*parts: tuple[str, str]) -> list[Delta]:
    """Return deltas of reasoning and text, each with one token more."""
    return [
        Delta(text, Tokens(output=index), reasoning)
        for index, (reasoning, text) in enumerate(parts, start=1)
    ]


def test_deltas_that_came_together_are_one() -> None:
    came = deltas(("", "One "), ("", "two"), ("", ""))
    assert list(merged(came)) == [Delta("One two", Tokens(output=3))]


def test_thoughts_after_a_text_stay_after_it() -> None:
    came = deltas(("Hm", ""), ("", "One"), ("So", ""), ("", "two"))
    assert list(merged(came)) == [
        Delta("One", Tokens(output=2), "Hm"),
        Delta("two", Tokens(output=4), "So"),
    ]


def test_what_came_before_something_broken_is_told() -> None:
    def breaking() -> Iterator[Delta]:
        yield from deltas(("", "One "), ("", "two"))
        raise ValueError("broken")

    heard = merged(breaking())
    assert next(heard) == Delta("One two", Tokens(output=2))
    with pytest.raises(ValueError, match="broken"):
        next(heard)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """Answer each request with these bytes; yield the URL, and how often each connection asked."""
    asked: list[int] = []
    serving: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(asked)
        asked.append(0)
        over = asyncio.get_running_loop().create_future()
        serving.append(over)
        while (await reader.read(65_536)).startswith(b"POST"):
            asked[number] += 1
            for piece in pieces:
                writer.write(piece)
        writer.close()
        over.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", asked
        await asyncio.gather(*serving)


async def ask(http: httpx2.AsyncClient, url: str) -> list[list[bytes]]:
    """Return what arrived together."""
    async with posted(http, url, {}, {}) as arriving:
        return [events async for events in arriving]


async def test_events_of_one_piece_arrive_together() -> None:
    said = chunk(b"data: 1\n\ndata: 2\n\ndata: ") + chunk(b"3\n\n")
    async with answering(HEAD, said, END) as (url, _), httpx2.AsyncClient() as http:
        assert await ask(http, url) == [[b"1", b"2"], [b"3"]]


@pytest.mark.parametrize("last", [END, chunk(b"\n") + END])
async def test_a_connection_is_used_again(last: bytes) -> None:
    said = chunk(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n")
    async with answering(HEAD, said, last) as (url, asked), httpx2.AsyncClient() as http:
        assert [await ask(http, url) for _ in range(3)] == [[[b"1"]]] * 3
        assert asked == [3]


async def test_a_server_that_does_not_hang_up_keeps_nobody_waiting() -> None:
    said = chunk(b"data: 1\n\ndata: [DONE]\n\n")
    async with answering(HEAD, said) as (url, asked), httpx2.AsyncClient() as http:
        assert [await ask(http, url) for _ in range(2)] == [[[b"1"]]] * 2
        assert asked == [1, 1]


async def test_who_stops_listening_closes_the_connection() -> None:
    said = chunk(b"data: 1\n\n")
    async with answering(HEAD, said) as (url, asked), httpx2.AsyncClient() as http:
        for _ in range(2):
            async with posted(http, url, {}, {}) as arriving:
                assert await anext(aiter(arriving)) == [b"1"]
        assert asked == [1, 1]
