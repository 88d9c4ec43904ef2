"""How requests are carried: as they are, once, and given up at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from linker.providers.connections import pool
from linker.providers.transport import Transport
from linker.settings import ProviderSettings
from tests.linker.providers.stage import CANARY, PATIENCE_SECONDS

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
# More than what the two ends of a connection keep of it.
LONG = bytes(32 << 20)
SHORT_SECONDS = 0.5

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server of one answer to everything; keeps the heads of requests, as they arrived."""

    url: str = ""
    answer: bytes = OK
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes, until nothing does."""
        while head := await self.take(reader):
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            writer.write(self.answer)

    async def take(self, reader: asyncio.StreamReader) -> str:
        """Return the head of the next request, if there is one."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            return self.heads[-1]
        return ""


@asynccontextmanager
async def serving(
    server: Server, serve: Serve | None = None, *, offered: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Serve while the block runs."""
    under_way: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (serve or server.serve)(reader, writer)
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.append(asyncio.ensure_future(handle(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=offered) as listening:
        port = listening.sockets[0].getsockname()[1]
        server.url = f"https://localhost:{port}" if offered else f"http://127.0.0.1:{port}"
        yield server
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


def connect(
    *,
    trusted: ssl.SSLContext | None = None,
    connections_max: int = 10,
    **seconds: float,
) -> httpx2.AsyncClient:
    """Return a client; each wait is as long as `seconds` say, or long."""
    carrying = Transport(
        trusted=trusted or ssl.create_default_context(),
        connections_max=connections_max,
        idle_seconds=PATIENCE_SECONDS,
    )
    timeout = httpx2.Timeout(PATIENCE_SECONDS)
    timeout = httpx2.Timeout(**{**timeout.as_dict(), **seconds})
    return httpx2.AsyncClient(transport=carrying, timeout=timeout)


# --- As they are ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/model/a%3Ab%2Fc/x", "/a:b,c;d/x?q=%2F&r=a+b%20c", "/%7Euser/%C3%A9?%E2%82%AC=1", "/a%252Fb"],
)
async def test_an_address_arrives_as_it_was_written(path: str) -> None:
    async with serving(Server()) as server, connect() as client:
        await client.post(f"{server.url}{path}", content=b"x")
        assert server.heads[0].splitlines()[0] == f"POST {path} HTTP/1.1"


@pytest.mark.parametrize("body", [b"", b"x", bytes(1 << 20)], ids=len)
async def test_no_header_is_added(body: bytes) -> None:
    async with serving(Server()) as server, connect() as client:
        request = client.build_request("POST", server.url, content=body)
        await client.send(request)
        sent = [tuple(line.split(": ", 1)) for line in server.heads[0].splitlines()[1:-1]]
        assert sorted((name.lower(), value) for name, value in sent) == sorted(
            (name.lower(), value) for name, value in request.headers.items()
        )


async def test_cookies_are_not_kept() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b\r\n\r\n")
    async with serving(Server(answer=answer)) as server, connect() as client:
        for _ in range(2):
            client.cookies.clear()
            # Nobody keeps cookies of an address of numbers.
            await client.get(server.url.replace("127.0.0.1", "localhost"))
        assert "cookie" not in server.heads[1].lower()


async def test_an_answer_is_decoded_once() -> None:
    body = gzip.compress(gzip.compress(b"ok"))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with serving(Server(answer=head + body)) as server, connect() as client:
        assert gzip.decompress((await client.get(server.url)).content) == b"ok"


async def test_long_headers_are_taken() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nx-long: %b\r\n\r\n" % (b"y" * 30_000))
    async with serving(Server(answer=answer)) as server, connect() as client:
        assert len((await client.get(server.url)).headers["x-long"]) == 30_000


async def test_pieces_that_are_there_are_one() -> None:
    chunks = b"3\r\nabc\r\n" * 5 + b"0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    async with (
        serving(Server(answer=answer)) as server,
        connect() as client,
        client.stream("GET", server.url) as response,
    ):
        assert [piece async for piece in response.aiter_raw()] == [b"abc" * 5]


async def test_an_environment_with_a_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Server()) as server:
        monkeypatch.setenv("http_proxy", server.url)
        client: httpx2.AsyncClient = pool(ProviderSettings("far", "openai"))
        await client.get("http://far.invalid/x")
        await client.aclose()
        assert server.heads[0].splitlines()[0] == "GET http://far.invalid/x HTTP/1.1"


# --- Once ----------------------------------------------------------------------------------------


async def test_a_connection_is_used_again() -> None:
    accepted: list[int] = []
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        await server.serve(reader, writer)

    async with serving(server, serve), connect() as client:
        for _ in range(3):
            await client.post(server.url, content=b"x")
    assert len(accepted) == 1


async def test_a_kept_connection_that_was_closed_is_not_used() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    closed = threading.Event()
    count = 0

    def serve() -> None:
        nonlocal count
        for _ in range(2):
            taken, _ = listening.accept()
            with taken:
                count += taken.recv(1 << 16).count(b"POST")
                taken.sendall(OK)
            closed.set()

    thread = threading.Thread(target=serve)
    thread.start()
    async with connect() as client:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        await client.post(url, content=b"x")
        # Blocks the loop, which so does not see what has happened.
        assert closed.wait(PATIENCE_SECONDS)
        assert (await client.post(url, content=b"x")).text == "ok"
    thread.join()
    listening.close()
    assert count == 2


async def test_what_was_sent_is_not_sent_again() -> None:
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(OK)
        await reader.readexactly(1)
        await server.take(reader)

    async with serving(server, serve), connect() as client:
        await client.post(server.url, content=b"x")
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post(server.url, content=b"x")
    assert len(server.heads) == 2


# --- Given up ------------------------------------------------------------------------------------


async def test_an_upload_that_stalls_is_given_up() -> None:
    async def read_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        serving(Server(), read_nothing) as server,
        connect(write=SHORT_SECONDS) as client,
    ):
        with pytest.raises(httpx2.WriteTimeout):
            await client.post(server.url, content=LONG)


async def test_an_upload_that_is_slow_is_not() -> None:
    server = Server()

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        for _ in range(16):
            await reader.readexactly(len(LONG) // 16)
            await asyncio.sleep(SHORT_SECONDS / 8)  # slowness is what is tested
        writer.write(OK)

    async with serving(server, read_slowly), connect(write=SHORT_SECONDS) as client:
        assert (await client.post(server.url, content=LONG)).text == "ok"


async def test_an_answer_may_come_before_all_was_sent() -> None:
    server = Server()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\n")
        await reader.readexactly(len(LONG))
        writer.write(b"no")

    async with serving(server, refuse), connect() as client:
        response = await client.post(server.url, content=LONG)
        assert (response.status_code, response.text) == (413, "no")


async def test_silence_after_a_long_upload_is_one_of_reading() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(LONG))
        await asyncio.Event().wait()

    async with serving(Server(), say_nothing) as server, connect(read=SHORT_SECONDS) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(server.url, content=LONG)


async def test_who_waits_for_a_connection_does_so_for_a_while() -> None:
    endless = Server(answer=OK.replace(b"length: 2", b"length: 9"))
    async with (
        serving(endless) as server,
        connect(connections_max=1, pool=0.1, connect=0.1) as client,
        client.stream("GET", server.url),
    ):
        with pytest.raises(httpx2.ConnectTimeout):
            await client.get(server.url)


async def test_a_key_that_no_header_takes_is_not_told() -> None:
    async with serving(Server()) as server, connect() as client:
        with pytest.raises(httpx2.LocalProtocolError) as caught:
            await client.get(server.url, headers={"authorization": f"{CANARY}\r\nx: y"})
        assert not server.heads
    assert CANARY not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("answers", [False, True], ids=["before its head", "in its body"])
async def test_an_answer_over_tls_is_broken_off_at_once(*, answers: bool, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    asked, left = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    offered, trusted = identity(tmp_path)

    def serve() -> None:
        taken = offered.wrap_socket(listening.accept()[0], server_side=True)
        taken.recv(1 << 16)
        if answers:
            taken.sendall(OK.replace(b"length: 2", b"length: 9"))
        loop.call_soon_threadsafe(asked.set)
        # From here on it does not speak TLS: it will not agree to an end.
        with socket.socket(fileno=taken.detach()) as raw, suppress(ConnectionError):
            while raw.recv(1 << 16):
                pass
        loop.call_soon_threadsafe(left.set)

    threading.Thread(target=serve, daemon=True).start()
    async with connect(trusted=trusted) as client:
        url = f"https://localhost:{listening.getsockname()[1]}"
        async with asyncio.timeout(PATIENCE_SECONDS / 4):
            getting = asyncio.ensure_future(
                client.send(client.build_request("GET", url), stream=True)
            )
            await asked.wait()
            if answers:
                await (await getting).aclose()
            getting.cancel()
            await left.wait()
    listening.close()


async def test_a_server_that_nobody_vouches_for_is_not_asked(tmp_path: Path) -> None:
    offered, _ = identity(tmp_path)
    async with serving(Server(), offered=offered) as server, connect() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(server.url)
    assert not server.heads


def identity(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server at `localhost` shows, and who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now.replace(year=2126))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(secret + pem)
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(folder / "server.pem")
    return offered, ssl.create_default_context(cadata=pem.decode())
