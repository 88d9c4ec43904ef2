"""A URL has one spelling, so that a rule about a host or a path cannot be talked around."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.uses.target import parse_target

REFUSED = [
    "",
    "api.example.com/v1",
    "//api.example.com/v1",
    "ftp://api.example.com/",
    "http://api.example.com/",
    "https://",
    "https:///v1",
    "https://API.example.com/",
    "https://user@api.example.com/",
    "https://user:password@api.example.com/",
    "https://api.example.com./",
    "https://-api.example.com/",
    "https://api..example.com/",
    "https://api_1.example.com/",
    "https://[::1]/",
    "https://api.example.com:443/",
    "https://api.example.com:0443/",
    "https://api.example.com:65536/",
    "https://api.example.com:/",
    "http://localhost:80/",
    f"https://{'a.' * 130}com/",
    "https://api.example.com/a/../admin",
    "https://api.example.com/a/./b",
    "https://api.example.com/..",
    "https://api.example.com//admin",
    "https://api.example.com/a//",
    "https://api.example.com/%2e%2e/admin",
    "https://api.example.com/%2E%2E/admin",
    "https://api.example.com/%61dmin",
    "https://api.example.com/a%2fb",
    "https://api.example.com/a%2",
    "https://api.example.com/a\\b",
    "https://api.example.com/a b",
    "https://api.example.com/a\nHost:evil",
    "https://api.example.com/\u00e9",
    "https://api.example.com/a#b",
    "https://api.example.com/a?",
    "https://api.example.com/a?b=1&",
    "https://api.example.com/a?&b=1",
    "https://api.example.com/a?=1",
    "https://api.example.com/a?b=1+2",
    "https://api.example.com/a?b=%41",
    "https://api.example.com/a?b=%FF",
    "https://api.example.com/a?b=1#c",
    "https://api.example.com\n",
    "https://api.example.com/" + "a" * 8_192,
    "https://api.example.com/?" + "&".join(["a=b"] * 257),
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_could_be_read_differently_is_refused(url: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        parse_target("GET", url)
    assert refusal.value.field == "url"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://api.example.com", "api.example.com", "/"),
        ("https://api.example.com:8443/v1/", "api.example.com:8443", "/v1/"),
        ("http://127.0.0.1:7480/a%2Fb", "127.0.0.1:7480", "/a%2Fb"),
        ("http://localhost:7480/a:b@c", "localhost:7480", "/a:b@c"),
        ("https://xn--bcher-kva.example/~a?b", "xn--bcher-kva.example", "/~a"),
    ],
)
def test_facts_are_the_parts_of_the_url(url: str, host: str, path: str) -> None:
    assert parse_target("GET", url).facts() == {"method": "GET", "host": host, "path": path}


@pytest.mark.parametrize("method", ["", "get", "GET ", "TRACE", "CONNECT", "GET\r\n"])
def test_a_method_is_one_of_a_few(method: str) -> None:
    with pytest.raises(InvalidField, match="method"):
        parse_target(method, "https://api.example.com/")


def test_parameters_are_decoded_and_keep_their_order() -> None:
    target = parse_target("GET", "https://h.example/?b=%C3%A9&a=1%202&a&c==")
    assert target.parameters == (("b", "é"), ("a", "1 2"), ("a", ""), ("c", "="))


@given(st.text(alphabet="htps:/.aZ0%2eF?&=#@[]\\ \n\u00e9", max_size=40))
def test_any_text_is_a_url_or_refused(rest: str) -> None:
    try:
        target = parse_target("GET", f"https://h.example/{rest}")
    except InvalidField as refusal:
        assert refusal.field == "url"
    else:
        assert target.host == "h.example"
        assert not {"..", "."} & set(target.path.split("/"))
