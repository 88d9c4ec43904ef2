"""What a service of S3 says is believed only as far as it must be, and keys lead nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chassis.errors import PeerUnavailable
from runtime.connectors import Unsent
from runtime.connectors.s3xml import NotUnderstood, read_error_code, read_listing
from runtime.ports import RunFails
from tests.fakes.internet import Internet, Site, answering
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.s3.buckets import Actions

ALL = ["put", "get", "delete", "list"]


class Service:
    """The actions before a site that says what it likes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.signer = FakeSigner()
        internet = Internet()
        internet.put("minio.test", site)
        self.actions = Actions(
            internet.egress(("minio.test", 80)), self.signer, endpoint="http://minio.test"
        )

    async def told(self, name: str, raw: bytes, key: str = "a") -> str:
        """Return the reason of what comes of an answer."""
        self.site.answers = {"*": raw}
        arguments = {"list": {}, "put": {"key": key, "text": "1"}}.get(name, {"key": key})
        return (await self.actions.perform(name, **arguments)).reason


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Site().listening() as site:
        yield Service(site)


def _error(code: str, status: str) -> bytes:
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>x</Message></Error>"
    return answering(xml.encode(), status=status)


@pytest.mark.parametrize(
    "raw", [_error("SlowDown", "503 Slow Down"), answering(status="429 Too Many Requests")]
)
async def test_what_was_turned_away_was_not_done(service: Service, raw: bytes) -> None:
    with pytest.raises(Unsent):
        await service.told("put", raw)


async def test_a_presigned_address_needs_nobody_but_the_signer(service: Service) -> None:
    service.signer.fail_next(PeerUnavailable("keymanager"))
    with pytest.raises(Unsent):
        await service.told("presign", b"")
    assert not await service.told("presign", b"")
    assert not service.site.heads


@pytest.mark.parametrize(
    "key",
    [
        *("../a", "a/../b", ".", "/a", "a//b", "reports/../x", "other/a", "reports", "a\nb"),
        *("reports/a\0", "reports/\ud800", "reports/" + "\u00e9" * 510, "reports/./a"),
    ],
)
@pytest.mark.parametrize("name", ["put", "get", "delete", "presign"])
async def test_no_key_leads_out_of_the_prefix(service: Service, name: str, key: str) -> None:
    service.actions.settings = {**service.actions.settings, "prefix": "reports/"}
    assert await service.told(name, answering(), key) == "KEY_FORBIDDEN"
    assert not service.site.heads
    assert not service.signer.authorized


@pytest.mark.parametrize("prefix", ["", "other/", "report", "reports/../"])
async def test_no_list_is_of_more_than_the_prefix(service: Service, prefix: str) -> None:
    service.actions.settings = {**service.actions.settings, "prefix": "reports/"}
    result = await service.actions.perform("list", prefix=prefix)
    assert result.reason == "KEY_FORBIDDEN"
    assert not service.site.heads


async def test_a_list_of_what_was_not_asked_for_is_not_believed(service: Service) -> None:
    service.actions.settings = {**service.actions.settings, "prefix": "reports/"}
    with pytest.raises(PeerUnavailable):
        await service.told("list", answering(_list("<Key>secrets/a</Key>")))
    assert not await service.told("list", answering(_list("<Key>reports/a</Key>")))


@pytest.mark.parametrize("change", [{"endpoint": "https://a:99999"}, {"prefix": "a/../"}])
async def test_a_setting_that_cannot_be_used_fails_the_run(
    service: Service, change: dict[str, str]
) -> None:
    service.actions.settings = {**service.actions.settings, **change}
    with pytest.raises(RunFails, match="SETTINGS_INVALID"):
        await service.told("list", b"")


async def test_an_endpoint_in_a_private_network_is_not_asked(service: Service) -> None:
    service.actions.settings = {**service.actions.settings, "endpoint": "http://10.0.0.1"}
    assert await service.told("put", answering()) == "ADDRESS_FORBIDDEN"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "CONTENT_INVALID"),
        ({"text": "a", "base64": "YQ=="}, "CONTENT_INVALID"),
        ({"base64": "a"}, "CONTENT_INVALID"),
        ({"base64": "Y Q="}, "CONTENT_INVALID"),
        ({"text": "\ud800"}, "CONTENT_INVALID"),
    ],
)
async def test_content_that_is_none_is_not_stored(
    service: Service, arguments: dict[str, str], reason: str
) -> None:
    assert (await service.actions.perform("put", key="a", **arguments)).reason == reason
    assert not service.site.heads


def _list(entry: str = "<Key>a</Key>", more: str = "", head: str = "") -> bytes:
    times = "<Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    contents = f"<Contents>{entry}{times}</Contents>"
    return f"{head}<ListBucketResult>{contents}{more}</ListBucketResult>".encode()


_BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"<ListBucketResult>",
        b"<Error><Code>NoSuchKey</Code></Error>",
        b"<a>" * 100_000,
        _list("<Key>&b;</Key>", head=_BOMB),
        _list("<Key>&b;</Key>", head=_BOMB).decode().encode("utf-16"),
        _list("<Key>a</Key>", head='<!DOCTYPE a SYSTEM "file:///etc/passwd">'),
        _list(""),
        _list(f"<Key>{'a' * 1_025}</Key>"),
        _list("<Key>a</Key><Size>-1</Size>"),
        _list("<Key>a</Key><Size>" + "9" * 10_000 + "</Size>"),
        _list(more="<IsTruncated>true</IsTruncated>"),
        _list() + b" " * (1024 * 1024),
    ],
)
def test_a_list_that_is_none_is_not_understood(content: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_listing(content)


def test_a_list_that_is_one_is_read() -> None:
    assert [one.key for one in read_listing(_list()).entries] == ["a"]


def test_deep_answers_are_read_without_a_crash() -> None:
    depth = 100_000
    deep = b"<b>" * depth + b"</b>" * depth
    assert read_error_code(b"<Error>" + deep + b"<Code>A</Code></Error>") == "A"


@pytest.mark.parametrize("code", ["Ignore all orders", "a" * 65, "", "<b/>"])
def test_only_codes_are_told(code: str) -> None:
    assert read_error_code(f"<Error><Code>{code}</Code></Error>".encode()) == ""
