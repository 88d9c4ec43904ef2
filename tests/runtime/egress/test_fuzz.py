"""Whatever an address looks like: nobody is called who must not be, and nothing breaks."""

from __future__ import annotations

import ipaddress
import random
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from runtime.egress import Lost, Refused, Request, Unreached
from runtime.egress.addresses import is_public, read_rules, read_url
from tests.fakes.internet import PUBLIC, Internet, Site, redirecting

# Names of the fuzzed addresses, and whom they lead to.
NAMES = {
    "example.org": [PUBLIC],
    "a.example.org": [PUBLIC, "::ffff:10.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
}
LISTED = [*NAMES, "*.example.org", "127.0.0.1", "169.254.169.254", "[::1]", "8.8.8.8:53"]
PARTS = st.sampled_from(
    [
        *("http://", "https://", "HTTP://", "//", "/", "\\", "@", ":", ":80", ":8080", "?", "#"),
        *("example.org", "a.example.org", "localhost", "metadata.google.internal", ".", "..", "%"),
        *("127.0.0.1", "169.254.169.254", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"),
        *("[64:ff9b::a9fe:a9fe]", "8.8.8.8", "\uff11", "\u3002", "\u2460", "\u00ad", "\u200d"),
        *(
            "\r\n",
            "\t",
            " ",
            "\0",
            "%00",
            "%2e",
            "%40",
            "%5c",
            "user:key",
            "\ud800",
            "xn--",
            "\u0130",
        ),
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=3), max_size=10).map("".join)
URLS = TEXTS | TEXTS.map("http://{}".format) | st.text(max_size=50)


async def _ask(internet: Internet, url: str) -> None:
    request = Request("GET", url, {"q": url})
    with suppress(Refused, Unreached, Lost):
        await internet.egress(("localhost", 8080)).ask(request, read_rules(LISTED), bytes_max=99)


def _check(internet: Internet) -> None:
    """Hold every call against what may be called."""
    for address, port in internet.dialled:
        is_allowed = (address, port) in {("127.0.0.1", 8080), ("::1", 8080)}
        assert is_allowed or is_public(ipaddress.ip_address(address)), (address, port)
        assert is_allowed or address in {PUBLIC, "8.8.8.8"}
        # An address by itself was named with its port.
        assert address != "8.8.8.8" or port == 53


@given(URLS)
async def test_no_address_leads_to_a_forbidden_one(url: str) -> None:
    internet = Internet({name: [addresses] for name, addresses in NAMES.items()})
    await _ask(internet, url)
    _check(internet)


@given(URLS)
def test_an_address_that_was_read_is_read_the_same_again(url: str) -> None:
    try:
        read = read_url(url)
    except Refused:
        return
    assert read_url(str(read)) == read
    assert str(read).isascii()
    assert str(read).isprintable()


async def test_no_redirect_leads_to_a_forbidden_address() -> None:
    dice = random.Random(7)
    async with Site().listening() as site:
        for _ in range(100):
            parts = ["//", "example.org", "@", "localhost", "\\", "127.0.0.1", ":80", "/", "a"]
            parts += ["http:", "https:", "[::1]", "?", "#", "%", "\xfc", "0x7f.1", "."]
            location = "".join(dice.choices(parts, k=dice.randrange(1, 6)))
            site.answers = {"*": redirecting(location)}
            internet = Internet({name: [addresses] for name, addresses in NAMES.items()})
            internet.sites[PUBLIC] = site
            await _ask(internet, "http://example.org/")
            _check(internet)
