"""The stands of the actions that come with the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import unquote

import httpx
from cryptography import x509
from pydantic import JsonValue

from runtime.connectors.board import BoardPost
from runtime.connectors.catalogue import catalogue
from runtime.connectors.knowledge import KnowledgeSearch
from runtime.connectors.messages.mail import MailSend
from tests.fakes.board import FakeBoard
from tests.fakes.certificates import identity
from tests.fakes.front import Front, Says, TransportFront
from tests.fakes.internet import Internet, Site, answering
from tests.fakes.mail import FakeMail
from tests.fakes.messages import (
    CHANNEL,
    CHAT,
    SLACK_CHANNEL,
    FakeDiscord,
    FakeReceiver,
    FakeSlack,
    FakeTelegram,
    JsonSite,
)
from tests.fakes.runtime_ports import FakeKnowledge, FakeSigner
from tests.fakes.s3 import BUCKET, REGION
from tests.fakes.x import FakeX
from tests.runtime.connectors.stand import CANARY, ORDER, CanarySigner, Stand, Subject

HOST = "service.test"
URL = f"http://{HOST}"
OLD_POST = "1346889436626259000"


class Serves(Protocol):
    """Makes a fake for each test, and says how to count what was done to it."""

    def __call__(self) -> tuple[Site, Callable[[], int]]:
        """Return both."""


def before_site(
    name: str,
    serves: Serves,
    settings: Mapping[str, JsonValue],
    *,
    host: str = HOST,
    credential: str = "secrets/service",
) -> Callable[[], AbstractAsyncContextManager[Stand]]:
    """Return the stand of an action of the catalogue that asks a site through the egress."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stand]:
        site, effects = serves()
        internet, front, signer = Internet(), Front(inner=site), CanarySigner()
        internet.put(host, front)
        found = catalogue(httpx.AsyncClient(), FakeKnowledge(), signer, internet.egress())
        order = replace(ORDER, settings=settings, credential=credential)
        async with front.listening():
            yield Stand(found[name], order, signer, front, effects, internet.sites.clear)

    return opened


def alone(name: str) -> Callable[[], AbstractAsyncContextManager[Stand]]:
    """Return the stand of an action that a run does by itself."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stand]:
        http, egress = httpx.AsyncClient(), Internet().egress()
        yield Stand(catalogue(http, FakeKnowledge(), CanarySigner(), egress)[name], ORDER)

    return opened


@asynccontextmanager
async def _board() -> AsyncIterator[Stand]:
    board, signer = FakeBoard(), CanarySigner()
    front = TransportFront(board)
    connector = BoardPost(httpx.AsyncClient(transport=front), signer)
    order = replace(ORDER, settings={"url": "http://board.test"}, credential="secrets/board-key")
    yield Stand(connector, order, signer, front, lambda: len(board.posts), front.leave)


@asynccontextmanager
async def _knowledge() -> AsyncIterator[Stand]:
    order = replace(ORDER, collections=("collections/market",))
    yield Stand(KnowledgeSearch(FakeKnowledge()), order)


def _x(effects: Callable[[FakeX], int]) -> Serves:
    def serves() -> tuple[Site, Callable[[], int]]:
        x = FakeX()
        x.add_post("A post of mine")
        x.add_user("99", "stranger")
        return x, lambda: effects(x)

    return serves


@dataclass
class Bucket(Site):
    """S3 with one bucket, as far as its actions ask."""

    objects: dict[str, bytes] = field(default_factory=lambda: {"old": b"1"})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(self._answer(head, await reader.read()))

    def _answer(self, head: str, body: bytes) -> bytes:
        method, target, _ = head.split(" ", 2)
        key = unquote(target.partition("?")[0].removeprefix(f"/{BUCKET}/"))
        if method == "PUT":
            self.objects[key] = body
        elif method == "DELETE":
            self.objects.pop(key, None)
            return answering(status="204 No Content")
        elif "list-type=2" in target:
            times = "<Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            found = "".join(f"<Contents><Key>{one}</Key>{times}</Contents>" for one in self.objects)
            return answering(f"<ListBucketResult>{found}</ListBucketResult>".encode())
        return answering(self.objects.get(key, b""))


def _bucket(effects: Callable[[Bucket], int]) -> Serves:
    def serves() -> tuple[Site, Callable[[], int]]:
        bucket = Bucket()
        return bucket, lambda: effects(bucket)

    return serves


def _page() -> tuple[Site, Callable[[], int]]:
    site = Site({"*": answering(b"fine")})
    return site, lambda: sum(head.startswith("POST") for head in site.heads)


def _html() -> tuple[Site, Callable[[], int]]:
    site = Site({"*": answering(b"<p>fine</p>", kind="text/html")})
    return site, lambda: 0


def _feed() -> tuple[Site, Callable[[], int]]:
    site = Site({"*": answering(b"<rss version='2.0'><channel><title>a</title></channel></rss>")})
    return site, lambda: 0


_X: dict[str, JsonValue] = {"url": URL}
_S3: dict[str, JsonValue] = {"bucket": BUCKET, "region": REGION, "endpoint": URL}
_WEB: dict[str, JsonValue] = {"hosts": [HOST]}
_RESET = Says(
    429, headers=("date: Thu, 01 Jan 2026 00:00:00 GMT", "x-rate-limit-reset: 1767225607")
)


def _of_x(name: str, effects: Callable[[FakeX], int] = lambda _: 0, **more: object) -> Subject:
    opened = before_site(name, _x(effects), _X)
    return replace(Subject(name, opened, too_often=_RESET), **more)  # type: ignore[arg-type]  # its fields


def _of_s3(name: str, effects: Callable[[Bucket], int] = lambda _: 0, **more: object) -> Subject:
    opened = before_site(name, _bucket(effects), _S3)
    return replace(Subject(name, opened), **more)  # type: ignore[arg-type]  # its fields


def _message(
    name: str,
    make: Callable[..., JsonSite],
    settings: Mapping[str, JsonValue],
    arguments: Mapping[str, JsonValue],
    **more: object,
) -> Subject:
    def serves() -> tuple[Site, Callable[[], int]]:
        site = make(token=CANARY)
        return site, lambda: len(site.messages)

    subject = Subject(name, before_site(name, serves, {**settings, "url": URL}), arguments)
    return replace(subject, **more)  # type: ignore[arg-type]  # its fields


def _receiver() -> tuple[Site, Callable[[], int]]:
    receiver = FakeReceiver(key=FakeSigner().hmac_key)
    return receiver, lambda: len(receiver.messages)


POST: dict[str, JsonValue] = {"text": "Ether gained."}
SUBJECTS = [
    Subject("board.post", _board, {"text": "Ether gained."}),
    Subject("knowledge.search", _knowledge, {"query": "ether"}),
    Subject(
        "web.get",
        before_site("web.get", _page, _WEB, credential=""),
        {"url": f"{URL}/a"},
        reads_answer=False,
        tells_anything=True,
        waits=False,
    ),
    Subject(
        "web.page",
        before_site("web.page", _html, _WEB, credential=""),
        {"url": f"{URL}/a"},
        reads_answer=False,
        waits=False,
    ),
    Subject(
        "web.feed",
        before_site("web.feed", _feed, _WEB, credential=""),
        {"url": f"{URL}/a"},
        reads_answer=False,
        waits=False,
    ),
    Subject(
        "web.send",
        before_site("web.send", _page, _WEB, credential=""),
        {"url": f"{URL}/a", "json": {"text": "Ether gained."}},
        reads_answer=False,
        tells_anything=True,
    ),
    _of_s3(
        "s3.put",
        lambda bucket: len(bucket.objects) - 1,
        arguments={"key": "a", "text": "b"},
        reads_answer=False,
    ),
    _of_s3("s3.get", arguments={"key": "old"}, reads_answer=False),
    _of_s3("s3.list", arguments={}),
    _of_s3(
        "s3.delete",
        lambda bucket: 1 - len(bucket.objects),
        arguments={"key": "old"},
        reads_answer=False,
    ),
    _of_x("x.post", lambda x: len(x.posts) - 1, arguments={"text": "Ether gained."}),
    _of_x(
        "x.delete",
        lambda x: 1 - len(x.posts),
        arguments={"id": OLD_POST},
        # What is not there is deleted.
        refusals=(400, 401, 403, 422),
    ),
    _of_x("x.like", lambda x: len(x.likes), arguments={"id": OLD_POST}, lookups=1),
    _of_x("x.search", arguments={"query": "ether"}),
    _of_x("x.mentions", arguments={}, lookups=1),
    _of_x("x.user", arguments={"name": "stranger"}),
]


@asynccontextmanager
async def _mail() -> AsyncIterator[Stand]:
    with TemporaryDirectory() as folder:
        offered, trusted = identity(Path(folder), x509.DNSName("mail.test"))
    mail, signer, internet = FakeMail(password=CANARY), CanarySigner(), Internet(tls=trusted)
    internet.put("mail.test", mail)
    settings: dict[str, JsonValue] = {"host": "mail.test", "from": "a@b.test", "to": ["c@d.test"]}
    order = replace(ORDER, settings=settings, credential="secrets/mail")
    connector = MailSend(internet.egress(), signer)
    async with mail.listening(tls=offered):
        leave = internet.sites.clear
        yield Stand(connector, order, signer, mail, lambda: len(mail.messages), leave)


SUBJECTS += [
    Subject("mail.send", _mail, {"subject": "Prices", "text": "Ether gained."}, seconds=0),
    _message("discord.post", FakeDiscord, {"channel": CHANNEL}, POST, attempts=2),
    _message(
        "slack.post",
        FakeSlack,
        {"channel": SLACK_CHANNEL},
        POST,
    ),
    _message("telegram.send", FakeTelegram, {"chat": CHAT}, POST),
    Subject(
        "webhook.send",
        before_site("webhook.send", _receiver, {"url": f"{URL}/hook"}),
        {"data": {"price": 3}},
        reads_answer=False,
    ),
]
# What is done without anybody who could be asked: `s3.presign` needs its key only.
ALONE = [
    Subject("run.sleep", alone("run.sleep"), {"seconds": 1}),
    Subject("run.wait", alone("run.wait"), {"signal": "go", "seconds": 1}),
    Subject("llm.ask", alone("llm.ask"), {"prompt": "Why?"}),
    Subject("s3.presign", before_site("s3.presign", _bucket(lambda _: 0), _S3), {"key": "old"}),
]
