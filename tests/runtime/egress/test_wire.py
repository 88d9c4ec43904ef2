"""Answers that want to be too much: each is stopped while it comes."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib

import pytest

from runtime.egress import Answer, Lost, Refused, Request
from runtime.egress.addresses import read_rules
from runtime.egress.wire import EARLY_ANSWERS_MAX, HEADER_BYTES_MAX
from tests.fakes.internet import OK, Internet, Site, answering

BYTES_MAX = 1_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
# So much does no test let anybody write.
FLOOD_BYTES = 64 * 1024 * 1024


async def ask(site: Site, method: str = "GET") -> Answer:
    """Return what a site answers."""
    internet = Internet()
    async with site.listening():
        internet.put("example.org", site)
        wanted = Request(method, "http://example.org/")
        return await internet.egress().ask(wanted, read_rules(["example.org"]), bytes_max=BYTES_MAX)


class Flood:
    """A site that never ends; it knows how much it got rid of."""

    def __init__(self, start: bytes, again: bytes) -> None:
        self._start, self._again = start, again
        self.bytes_written = 0

    async def write(self, writer: asyncio.StreamWriter) -> None:
        """Write until nobody listens."""
        writer.write(self._start)
        while self.bytes_written < FLOOD_BYTES:
            writer.write(self._again)
            self.bytes_written += len(self._again)
            await writer.drain()


async def flooded(start: bytes, again: bytes) -> Answer:
    """Return what is made of an answer without an end, which must not be taken whole."""
    flood = Flood(start, again)
    try:
        return await ask(Site(endless=flood.write))
    finally:
        assert flood.bytes_written < FLOOD_BYTES


async def test_a_body_without_an_end_is_cut() -> None:
    answer = await flooded(HEAD + b"\r\n", b"x" * 65_536)
    assert (answer.body, answer.is_cut) == (b"x" * BYTES_MAX, True)


async def test_chunks_without_an_end_are_cut() -> None:
    answer = await flooded(CHUNKED, b"1\r\nx\r\n" * 1_000)
    assert (answer.body, answer.is_cut) == (b"x" * BYTES_MAX, True)


async def test_frames_with_nothing_in_them_are_not_taken_for_ever() -> None:
    # An empty block of a stream that goes on.
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b"a") + packer.flush(zlib.Z_SYNC_FLUSH)
    empty = b"\x00\x00\x00\xff\xff" * 1_000
    answer = await flooded(HEAD + b"content-encoding: gzip\r\n\r\n" + start, empty)
    assert (answer.body, answer.is_cut) == (b"a", True)


async def test_a_bomb_is_stopped_while_it_unpacks() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(bytes(FLOOD_BYTES)) + packer.flush()
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        answer = await ask(Site({"/": answering(bomb, "content-encoding: gzip")}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.body, answer.is_cut) == (bytes(BYTES_MAX), True)
    assert peak < 2 * 1024 * 1024


@pytest.mark.parametrize("line", [b"x: " + b"y" * 8_000 + b"\r\n", b"z: 1\r\n" * 1_000, b"q" * 999])
async def test_headers_without_an_end_are_refused(line: bytes) -> None:
    with pytest.raises(Refused, match="ANSWER_TOO_LARGE"):
        await flooded(HEAD, line)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_answers_before_the_answer_come_to_an_end(start: bytes, again: bytes) -> None:
    with pytest.raises(Lost):
        await flooded(start, again)


@pytest.mark.parametrize("count", [EARLY_ANSWERS_MAX, EARLY_ANSWERS_MAX + 1])
async def test_a_few_answers_before_the_answer_are_passed_over(count: int) -> None:
    site = Site({"/": b"HTTP/1.1 103 Early Hints\r\n\r\n" * count + OK})
    if count == EARLY_ANSWERS_MAX:
        assert (await ask(site)).body == b"ok"
    else:
        with pytest.raises(Lost):
            await ask(site)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x16\x03\x01",
        b"220 mail.example.org ESMTP\r\n",
        b"-ERR unknown command 'GET'\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 999999 No\r\n\r\n",
        HEAD + b"x\0y: 1\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"5\r\nab\r\n",
        answering(b"no gzip", "content-encoding: gzip"),
        answering(gzip.compress(b"a" * 500)[:-9], "content-encoding: gzip"),
    ],
)
async def test_what_makes_no_sense_is_a_lost_answer(raw: bytes) -> None:
    with pytest.raises(Lost):
        await ask(Site({"/": raw}))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "deflate", "compress"])
async def test_what_is_packed_as_nobody_asked_is_refused(coding: str) -> None:
    with pytest.raises(Refused, match="ANSWER_BINARY"):
        await ask(Site({"/": answering(b"ok", f"content-encoding: {coding}")}))


async def test_what_is_packed_as_asked_is_unpacked() -> None:
    answer = await ask(Site({"/": answering(gzip.compress(b"ok"), "Content-Encoding: gzip")}))
    assert (answer.body, answer.is_cut) == (b"ok", False)


async def test_a_body_of_exactly_the_limit_is_whole() -> None:
    answer = await ask(Site({"/": answering(b"x" * BYTES_MAX)}))
    assert (len(answer.body), answer.is_cut) == (BYTES_MAX, False)


async def test_headers_below_the_limit_are_read() -> None:
    answer = await ask(Site({"/": answering(b"ok", f"x: {'y' * (HEADER_BYTES_MAX // 2)}")}))
    assert answer.body == b"ok"


async def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ncontent-encoding: gzip\r\n\r\n"
    answer = await ask(Site({"/": head}), "HEAD")
    assert (answer.body, answer.is_cut) == (b"", False)


async def test_a_header_that_is_no_ascii_is_read_all_the_same() -> None:
    raw = HEAD + b"x: \xff\r\ny: \xc3\xbc\r\ncontent-length: 0\r\n\r\n"
    answer = await ask(Site({"/": raw}))
    assert (answer.headers["x"], answer.headers["y"]) == ("\u00ff", "\u00fc")


async def test_a_connection_carries_one_request() -> None:
    site = Site({"/": OK})
    await ask(site)
    assert "connection: close" in site.heads[0]
