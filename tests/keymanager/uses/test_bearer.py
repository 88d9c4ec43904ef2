"""Keys that are sent as they are: where they stand, and that no request puts them elsewhere."""

from __future__ import annotations

import pytest

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.bearer import BearerHeaders, KeyHeader, KeyUrl
from keymanager.uses.keys import ApiKey

from .samples import URL, key_of, perform

KEY = "sk-canary-1234567890"


def test_the_key_stands_where_the_service_wants_it() -> None:
    key = key_of(Kind.API_KEY)
    assert perform(BearerHeaders("GET", URL), key).values == {"Authorization": f"Bearer {KEY}"}
    bot = BearerHeaders("GET", URL, "Bot")
    assert perform(bot, key).values == {"Authorization": f"Bot {KEY}"}
    assert perform(KeyHeader("GET", URL, "x-api-key"), key).values == {"x-api-key": KEY}
    url = KeyUrl("POST", "https://api.example.com/bot{key}/send?a=b")
    assert perform(url, key) == f"https://api.example.com/bot{KEY}/send?a=b"


@pytest.mark.parametrize(
    ("value", "written"), [(b"12:a-B_c", "12:a-B_c"), (b"a/b?c#d%", "a%2Fb%3Fc%23d%25")]
)
def test_a_key_stays_one_part_of_a_path(value: bytes, written: str) -> None:
    operation = KeyUrl("POST", "https://api.example.com/bot{key}/send")
    assert perform(operation, ApiKey(value)) == f"https://api.example.com/bot{written}/send"


def test_a_policy_sees_where_the_key_goes_and_never_the_key() -> None:
    where = {"method": "POST", "host": "api.example.com", "path": "/bot{key}/send"}
    assert KeyUrl("POST", "https://api.example.com/bot{key}/send?a=b").facts() == where
    assert KeyHeader("GET", URL, "x-api-key").facts()["header"] == "x-api-key"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/send",
        "https://api.example.com/send?key={key}",
        "https://{key}.example.com/send",
        "https://{key}.example.com/KEY~HERE",
        "https://api.example.com/KEY~HERE?key={key}",
        "https://api.example.com/{key}/{key}",
        "https://api.example.com{key}/",
        "http://api.example.com/{key}",
    ],
)
def test_a_key_goes_into_the_path_and_nowhere_else(url: str) -> None:
    with pytest.raises(InvalidField, match="url"):
        KeyUrl("POST", url)


@pytest.mark.parametrize("value", [b"..", b".", b"a\r\nb: c", b"\xff", b" a", b""])
def test_a_value_that_would_change_the_request_is_not_used(value: bytes) -> None:
    with pytest.raises(InvalidField, match="credential"):
        perform(KeyUrl("POST", "https://api.example.com/{key}/send"), ApiKey(value))


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"\xff", b" a", b""])
@pytest.mark.parametrize(
    "operation", [BearerHeaders("GET", URL), KeyHeader("GET", URL, "x-api-key")]
)
def test_a_value_that_is_no_line_is_put_into_no_header(
    operation: BearerHeaders | KeyHeader, value: bytes
) -> None:
    with pytest.raises(InvalidField, match="credential"):
        perform(operation, ApiKey(value))


@pytest.mark.parametrize("header", ["", "X-Api-Key", "a b", "a\n", "-a", "a" * 65])
def test_a_header_is_named_in_one_way(header: str) -> None:
    with pytest.raises(InvalidField, match="key_header"):
        KeyHeader("GET", URL, header)
