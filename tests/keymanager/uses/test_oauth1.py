"""OAuth 1.0a headers are those of X's documentation, and of oauthlib."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oauthlib.oauth1 import Client

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.keys import OAuth1Key, load_key
from keymanager.uses.oauth1 import OAuth1Headers, _signature

from .samples import NOW, VALUES, key_of, perform

UPDATE = "https://api.twitter.com/1.1/statuses/update.json?include_entities=true"
STATUS = "Hello Ladies + Gentlemen, a signed OAuth request!"
X = {
    "consumer_key": "xvz1evFS4wEEPTGEFPHBog",
    "consumer_secret": "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
    "token": "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
    "token_secret": "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
}
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith("oauth_"))
PAIRS = st.lists(st.tuples(NAMES, st.text(max_size=12)), max_size=4)


def parameters_of(header: str) -> dict[str, str]:
    """Return what an `Authorization` header says."""
    scheme, _, rest = header.partition(" ")
    assert scheme == "OAuth"
    pairs = (part.split("=", 1) for part in rest.split(", "))
    return {name: unquote(value.strip('"')) for name, value in pairs}


def test_the_example_of_x_has_the_signature_printed_there() -> None:
    operation = OAuth1Headers("POST", UPDATE, (("status", STATUS),))
    key = load_key(Kind.OAUTH1, json.dumps(X).encode())
    assert isinstance(key, OAuth1Key)
    base = operation._base_string(
        {
            "oauth_consumer_key": key.consumer_key,
            "oauth_nonce": "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg",
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": "1318622958",
            "oauth_token": key.token,
            "oauth_version": "1.0",
        }
    )
    assert _signature(key, base) == "hCtSmYh+iHYCEqBWrE7C7hYmtUk="


@given(query=PAIRS, form=PAIRS, method=st.sampled_from(["GET", "POST"]), seed=st.integers(0, 99))
def test_oauthlib_makes_the_same_header(
    query: list[tuple[str, str]], form: list[tuple[str, str]], method: str, seed: int
) -> None:
    form = form if method == "POST" else []
    url = "https://api.x.com/2/tweets"
    if query:
        url += "?" + urlencode(query, quote_via=quote, safe="")
    header = perform(OAuth1Headers(method, url, form), key_of(Kind.OAUTH1), seed=seed)
    ours = parameters_of(header.values["Authorization"])
    secrets = json.loads(VALUES[Kind.OAUTH1])
    client = Client(
        secrets["consumer_key"],
        client_secret=secrets["consumer_secret"],
        resource_owner_key=secrets["token"],
        resource_owner_secret=secrets["token_secret"],
        nonce=ours["oauth_nonce"],
        timestamp=ours["oauth_timestamp"],
    )
    content_type = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    body = urlencode(form, quote_via=quote, safe="") if form else None
    _, headers, _ = client.sign(url, method, body, content_type)
    assert ours == parameters_of(headers["Authorization"])


def test_every_header_has_its_own_nonce_and_the_time() -> None:
    operation = OAuth1Headers("GET", UPDATE)
    one, two = (
        parameters_of(perform(operation, key_of(Kind.OAUTH1), seed=seed).values["Authorization"])
        for seed in (1, 2)
    )
    assert one["oauth_nonce"] != two["oauth_nonce"]
    assert one["oauth_timestamp"] == str(int(NOW.timestamp()))


@pytest.mark.parametrize(
    ("url", "form", "field"),
    [
        ("https://api.x.com/?oauth_nonce=1", (), "url"),
        ("https://api.x.com/?%6Fauth_nonce=1", (), "url"),
        ("https://api.x.com/", (("oauth_token", "1"),), "form[0].name"),
        ("https://api.x.com/", (("a", "b"), ("", "1")), "form[1].name"),
        ("https://api.x.com/", (("a", "\ud800"),), "form[0]"),
        ("https://api.x.com/", (("a", "b"),) * 257, "form"),
        ("https://api.x.com/", (("a", "b" * 65_536),), "form"),
    ],
)
def test_what_is_made_here_or_too_large_is_refused(
    url: str, form: tuple[tuple[str, str], ...], field: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        OAuth1Headers("POST", url, form)
    assert refusal.value.field == field
