"""The fake of X that examples use takes what is signed, and nothing else."""

from __future__ import annotations

import pytest
from oauthlib.oauth1 import Client

from tests.fakes.x import Asked
from tests.fakes.x_server import SigningX

CREDENTIAL = {
    "consumer_key": "ck",
    "consumer_secret": "cs",
    "token": "tk",
    "token_secret": "ts",
}
TARGET = "/2/tweets/search/recent?query=a%20b"


def asked(method: str = "GET", target: str = TARGET, **changes: str) -> Asked:
    credential = CREDENTIAL | changes
    client = Client(
        credential["consumer_key"],
        credential["consumer_secret"],
        credential["token"],
        credential["token_secret"],
    )
    _, headers, _ = client.sign(f"http://localhost:1{TARGET}", http_method="GET")
    told = {"host": "localhost:1", "authorization": headers["Authorization"]}
    return Asked(method, target, told, b"")


def test_what_is_signed_is_taken() -> None:
    assert SigningX(credential=CREDENTIAL).is_authorized(asked())


@pytest.mark.parametrize(
    "request_",
    [
        Asked("GET", TARGET, {"host": "localhost:1"}, b""),
        Asked("GET", TARGET, {"host": "localhost:1", "authorization": "oauth1 x"}, b""),
        asked(token_secret="other"),
        asked(consumer_key="other"),
        asked(method="POST"),
        asked(target="/2/tweets/search/recent?query=other"),
    ],
    ids=["nothing", "no signature", "another secret", "another key", "a method", "a target"],
)
def test_anything_else_is_not(request_: Asked) -> None:
    assert not SigningX(credential=CREDENTIAL).is_authorized(request_)
