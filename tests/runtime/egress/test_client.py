"""Whom the egress asks, and where it does not let itself be led."""

from __future__ import annotations

import asyncio
import random

import pytest

from runtime.egress import Lost, Refused, Request, Unreached
from runtime.egress import client as client_module
from runtime.egress.addresses import read_rules, read_url
from runtime.egress.client import REDIRECTS_MAX, Egress
from tests.fakes.internet import OK, OTHER, PUBLIC, Internet, Site, answering, redirecting
from tests.runtime.egress.test_addresses import ODD_HOSTS, PRIVATE

HOST = "example.org"
OTHER_HOST = "other.example.org"
RULES = read_rules([HOST, "*.example.org"])
ANY = read_rules([HOST, "*.example.org", "localhost", "localhost:8080", "127.0.0.1"])
METADATA = "http://169.254.169.254/latest/meta-data/"


async def ask(
    egress: Egress, url: str = f"http://{HOST}/", *, method: str = "GET", **request: object
) -> str:
    """Ask for something; return what is answered, or why not."""
    wanted = Request(method, url, **request)  # type: ignore[arg-type]  # its fields
    try:
        answer = await egress.ask(wanted, ANY, bytes_max=1_000)
    except Refused as error:
        return error.reason
    return f"{answer.status} {answer.body.decode()}"


async def test_a_host_that_is_named_is_asked() -> None:
    internet = Internet()
    async with Site({"/a": OK}).listening() as site:
        internet.put(HOST, site)
        assert await ask(internet.egress(), f"http://{HOST}/a", query={"q": "a b&c"}) == "200 ok"
    [head] = site.heads
    assert head.startswith("GET /a?q=a+b%26c HTTP/1.1\r\nhost: example.org\r\n")
    assert internet.dialled == [(PUBLIC, 80)]


async def test_a_host_that_nobody_named_is_not_even_looked_up() -> None:
    internet = Internet(names={"evil.org": [[PUBLIC]]})
    assert await ask(internet.egress(), "http://evil.org/") == "HOST_FORBIDDEN"
    assert internet.lookups == []


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_inside_is_not_followed(address: str) -> None:
    internet = Internet(names={HOST: [[address]]})
    assert await ask(internet.egress()) == "ADDRESS_FORBIDDEN"
    assert internet.dialled == []


@pytest.mark.parametrize("inside", [[PUBLIC, "10.0.0.1"], ["127.0.0.1", PUBLIC]])
async def test_a_name_with_one_address_inside_is_not_asked_at_the_other(inside: list[str]) -> None:
    internet = Internet(names={HOST: [inside]})
    assert await ask(internet.egress()) == "ADDRESS_FORBIDDEN"
    assert internet.dialled == []


async def test_a_name_that_changes_its_mind_is_asked_where_it_was_checked() -> None:
    internet = Internet(names={HOST: [[PUBLIC], ["127.0.0.1"]]})
    async with Site({"/": OK}).listening() as site:
        internet.sites[PUBLIC] = site
        assert await ask(internet.egress()) == "200 ok"
        assert (internet.lookups, internet.dialled) == ([HOST], [(PUBLIC, 80)])
        # The next request looks it up again, and finds it inside.
        assert await ask(internet.egress()) == "ADDRESS_FORBIDDEN"


async def test_a_name_that_changes_its_mind_between_redirects_is_checked_again() -> None:
    internet = Internet(names={HOST: [[PUBLIC], ["127.0.0.1"]]})
    async with Site({"/": redirecting("/next"), "/next": OK}).listening() as site:
        internet.sites[PUBLIC] = internet.sites["127.0.0.1"] = site
        assert await ask(internet.egress()) == "REDIRECT_FORBIDDEN"
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", *ODD_HOSTS])
async def test_this_machine_is_not_asked_even_if_somebody_named_it(host: str) -> None:
    internet = Internet(names={"localhost": [["127.0.0.1", "::1"]]})
    assert await ask(internet.egress(), f"http://{host}/") == "ADDRESS_FORBIDDEN"
    assert internet.dialled == []


async def test_the_operator_can_let_a_service_of_this_machine_be_asked() -> None:
    internet = Internet(names={"localhost": [["127.0.0.1"]]})
    async with Site({"/": OK}).listening() as site:
        internet.sites["127.0.0.1"] = site
        egress = internet.egress(("localhost", 8080))
        assert await ask(egress, "http://localhost:8080/") == "200 ok"
        assert await ask(egress, "http://localhost/") == "ADDRESS_FORBIDDEN"
        # Who asks has to name it as well.
        with pytest.raises(Refused, match="HOST_FORBIDDEN"):
            await egress.ask(Request("GET", "http://localhost:8080/"), RULES, bytes_max=9)


async def test_a_service_of_the_operator_cannot_turn_into_that_of_a_cloud() -> None:
    internet = Internet(names={"localhost": [["169.254.169.254"]]})
    egress = internet.egress(("localhost", 8080))
    assert await ask(egress, "http://localhost:8080/") == "ADDRESS_FORBIDDEN"


@pytest.mark.parametrize(
    "location",
    [
        METADATA,
        *("//169.254.169.254/", "http://localhost/", "http://127.0.0.1:22/", "http://2852039166/"),
        *("http://[::ffff:169.254.169.254]/", "http://evil.org/", "http://inside.example.org/"),
        *("http://example.org@10.0.0.1/", "http://example.org\\@10.0.0.1/", "file:///etc/passwd"),
        *(
            "http://[::1",
            "http://example.org:22/",
            "http://gone.example.org/",
            "ftp://example.org/",
        ),
    ],
)
async def test_a_redirect_leads_nowhere_that_could_not_be_asked_first(location: str) -> None:
    internet = Internet(names={"inside.example.org": [["10.0.0.1"]]})
    async with Site({"/": redirecting(location)}).listening() as site:
        internet.put(HOST, site)
        assert await ask(internet.egress()) == "REDIRECT_FORBIDDEN"
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_that_may_be_followed_is(status: int) -> None:
    internet = Internet()
    away = redirecting(f"//{OTHER_HOST}/b?c", status)
    async with Site({"/": away}).listening() as site, Site({"/b": OK}).listening() as other:
        internet.put(HOST, site)
        internet.put(OTHER_HOST, other, OTHER)
        assert await ask(internet.egress(), headers={"x-key": "1", "accept": "a/b"}) == "200 ok"
    [head] = other.heads
    assert head.startswith(f"GET /b?c HTTP/1.1\r\nhost: {OTHER_HOST}\r\n")
    assert "accept: a/b" in head
    assert "x-key" in site.heads[0]
    assert "x-key" not in head, "it was for the first service only"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_key_goes_nowhere_but_to_the_address_that_it_was_given_for(method: str) -> None:
    internet = Internet()
    site = Site({"/": redirecting(f"http://{HOST}/a", 307), "/a": OK})
    async with site.listening():
        internet.put(HOST, site)
        asked = await ask(internet.egress(), method=method, headers={"x-key": "k"}, is_bound=True)
    assert asked == "REDIRECT_FORBIDDEN"
    assert len(site.heads) == 1


async def test_redirects_in_a_circle_come_to_an_end() -> None:
    internet = Internet()
    async with Site({"/a": redirecting("/b"), "/b": redirecting("/a")}).listening() as site:
        internet.put(HOST, site)
        assert await ask(internet.egress(), f"http://{HOST}/a") == "REDIRECT_FORBIDDEN"
    assert len(site.heads) == REDIRECTS_MAX + 1


async def test_five_redirects_are_followed() -> None:
    internet = Internet()
    answers = {f"/{number}": redirecting(f"/{number + 1}") for number in range(REDIRECTS_MAX)}
    async with Site({**answers, f"/{REDIRECTS_MAX}": OK}).listening() as site:
        internet.put(HOST, site)
        assert await ask(internet.egress(), f"http://{HOST}/0") == "200 ok"


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_what_was_sent_is_not_followed_by_something_else(status: int) -> None:
    internet = Internet()
    async with Site({"/": redirecting("/b", status), "/b": OK}).listening() as site:
        internet.put(HOST, site)
        told = await ask(internet.egress(), method="POST", body=b"secret")
    assert told == f"{status} "
    assert len(site.heads) == 1


async def test_what_was_not_done_is_sent_on_within_a_service() -> None:
    internet = Internet()
    async with Site({"/": redirecting("/b", 307), "/b": OK}).listening() as site:
        internet.put(HOST, site)
        assert await ask(internet.egress(), method="POST", body=b"secret") == "200 ok"
    assert site.bodies == [b"secret", b"secret"]


async def test_nothing_that_was_sent_is_carried_to_another_service() -> None:
    internet = Internet()
    away = redirecting(f"http://{OTHER_HOST}/", 307)
    async with Site({"/": away}).listening() as site:
        internet.put(HOST, site)
        internet.put(OTHER_HOST, site, OTHER)
        told = await ask(internet.egress(), method="POST", body=b"secret")
    assert told == "REDIRECT_FORBIDDEN"
    assert internet.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0", "\u00fc", "a" * 4_097])
async def test_a_header_is_one_line(value: str) -> None:
    internet = Internet(names={HOST: [[PUBLIC]]})
    assert await ask(internet.egress(), headers={"accept": value}) == "HEADER_INVALID"
    assert internet.lookups == []


@pytest.mark.parametrize(
    "name", ["host", "content-length", "transfer-encoding", "cookie", "a b", "a\r\nb", "", "A"]
)
async def test_the_headers_of_the_wire_are_ours(name: str) -> None:
    assert await ask(Internet().egress(), headers={name: "1"}) == "HEADER_INVALID"


async def test_a_host_that_does_not_exist_is_said_not_to() -> None:
    assert await ask(Internet().egress()) == "HOST_UNKNOWN"


async def test_where_nobody_answers_nothing_was_sent() -> None:
    internet = Internet(names={HOST: [[PUBLIC, OTHER]]})
    with pytest.raises(Unreached):
        await ask(internet.egress())
    assert internet.dialled == [(PUBLIC, 80), (OTHER, 80)]


async def test_the_second_address_is_asked_where_the_first_does_not_answer() -> None:
    internet = Internet(names={HOST: [[OTHER, PUBLIC]]})
    async with Site({"/": OK}).listening() as site:
        internet.sites[PUBLIC] = site
        assert await ask(internet.egress()) == "200 ok"


async def test_a_lookup_that_fails_or_takes_long_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Internet):
        async def resolve(self, host: str, port: int) -> list[object]:  # type: ignore[override]  # never
            if port == 80:
                raise OSError(host)
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr(client_module, "CONNECT_SECONDS_MAX", 0.01)
    for url in (f"http://{HOST}/", f"https://{HOST}/"):
        with pytest.raises(Unreached):
            await ask(Slow().egress(), url)


async def test_more_than_can_be_asked_at_once_wait_and_then_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "REQUESTS_MAX", 1)
    internet = Internet()
    came = asyncio.Event()

    async def stay(_: asyncio.StreamWriter) -> None:
        came.set()
        await asyncio.Event().wait()

    async with Site(endless=stay).listening() as site:
        internet.put(HOST, site)
        egress = internet.egress()
        first = asyncio.ensure_future(ask(egress))
        await came.wait()
        monkeypatch.setattr(client_module, "SECONDS_MAX", 0.05)
        with pytest.raises(Unreached):
            await ask(egress)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # Who was broken off has given its place back.
        site.endless, site.answers = None, {"*": OK}
        assert await ask(egress) == "200 ok"


async def test_an_answer_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SECONDS_MAX", 0.2)
    internet = Internet()
    dice = random.Random(1)

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-%d: 1\r\n" % dice.randrange(1_000))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Site(endless=trickle).listening() as site:
        internet.put(HOST, site)
        with pytest.raises(Lost):
            await ask(internet.egress())


async def test_no_cookie_is_kept() -> None:
    internet = Internet()
    async with Site({"/": answering(b"", "set-cookie: a=b; path=/")}).listening() as site:
        internet.put(HOST, site)
        egress = internet.egress()
        await ask(egress)
        await ask(egress)
    assert not any("cookie" in head.lower() for head in site.heads)


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    internet = Internet()
    async with Site({"*": OK}).listening() as site, Site({"*": OK}).listening() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        internet.put(HOST, site)
        await ask(internet.egress())
    assert (len(site.heads), proxy.heads) == (1, [])


def test_a_redirect_beyond_the_list_has_the_host_in_its_message() -> None:
    with pytest.raises(Refused) as raised:
        client_module._require_host(read_url("https://evil.org:1/"), RULES)
    assert "evil.org:1" in raised.value.message
