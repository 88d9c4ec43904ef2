"""The board of the example, as a process over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.canonical import canonical_json, sha256_hex
from runtime.connectors import Order
from runtime.connectors.board import BoardPost
from tests.fakes.runtime_ports import FakeSigner

BOARD = Path(__file__).parents[2] / "examples" / "market-brief" / "board.py"
SIGNER = FakeSigner()


@contextmanager
def running(data: Path) -> Iterator[str]:
    """Start the board on a free port, give its address, and kill it."""
    command = (sys.executable, str(BOARD), "--port", "0", "--data", str(data))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("board") / "posts.jsonl") as url:
        yield url


def _post(url: str, key: str, text: Any = "Ether gained.", **headers: str) -> httpx.Response:  # noqa: ANN401  # any JSON
    body = canonical_json({"text": text})
    message = "\n".join(["POST", "/posts", key, sha256_hex(body)]).encode()
    signature = SIGNER.sign("secrets/a", "request", message)
    usual = {
        "Idempotency-Key": key,
        "Author-Key": base64.b64encode(signature.public_key).decode(),
        "Author-Signature": base64.b64encode(signature.value).decode(),
    }
    return httpx.post(f"{url}/posts", content=body, headers={**usual, **headers}, trust_env=False)


def _posts(url: str, **query: str) -> list[dict[str, str]]:
    answer: dict[str, list[dict[str, str]]] = httpx.get(
        f"{url}/posts", params=query, trust_env=False
    ).json()
    return answer["posts"]


def test_a_post_is_on_the_board(url: str) -> None:
    response = _post(url, "new")
    assert response.status_code == httpx.codes.CREATED
    assert response.json() in _posts(url)


def test_the_same_key_gives_the_same_post(url: str) -> None:
    first, second = _post(url, "same"), _post(url, "same")
    assert second.status_code == httpx.codes.OK
    assert first.json() == second.json()
    assert len(_posts(url, key="same")) == 1


def test_other_words_under_the_same_key_are_refused(url: str) -> None:
    _post(url, "other")
    assert _post(url, "other", "Ether fell.").status_code == httpx.codes.CONFLICT


def test_a_key_that_nobody_used_has_no_post(url: str) -> None:
    assert _posts(url, key="nobody") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Author-Signature": base64.b64encode(bytes(64)).decode()},
        {"Author-Signature": "?"},
        {"Author-Signature": ""},
        {"Author-Key": base64.b64encode(bytes(32)).decode()},
        {"Author-Key": "a"},
        {"Idempotency-Key": "another"},
    ],
)
def test_a_signature_that_does_not_fit_is_refused(url: str, headers: dict[str, str]) -> None:
    response = _post(url, "unsigned", **headers)
    assert response.status_code == httpx.codes.UNAUTHORIZED
    assert _posts(url, key="unsigned") == []


@pytest.mark.parametrize("text", ["", " ", "a" * 281])
def test_a_text_of_the_wrong_length_is_refused(url: str, text: str) -> None:
    assert _post(url, "length", text).status_code == httpx.codes.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("text", [None, 1, [], {}])
def test_a_text_that_is_none_is_refused(url: str, text: object) -> None:
    assert _post(url, "none", text).status_code == httpx.codes.BAD_REQUEST


def test_a_post_without_a_key_is_refused(url: str) -> None:
    response = httpx.post(f"{url}/posts", content=b"{}", trust_env=False)
    assert response.status_code == httpx.codes.BAD_REQUEST


def test_a_body_over_the_limit_is_refused(url: str) -> None:
    response = httpx.post(f"{url}/posts", content=b"a" * 20_000, trust_env=False)
    assert response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


def test_what_was_posted_survives_a_kill(tmp_path: Path) -> None:
    with running(tmp_path / "posts.jsonl") as url:
        post = _post(url, "kept").json()
    with running(tmp_path / "posts.jsonl") as url:
        assert _posts(url) == [post]
        assert _post(url, "kept").status_code == httpx.codes.OK


def test_half_a_line_is_not_a_post(tmp_path: Path) -> None:
    data = tmp_path / "posts.jsonl"
    with running(data) as url:
        post = _post(url, "whole").json()
    data.write_bytes(data.read_bytes() + b'{"id": "2", "ke')
    with running(data) as url:
        assert _posts(url) == [post]
        assert _post(url, "next").json()["id"] == "2"
    with running(data) as url:
        assert len(_posts(url)) == 2


def test_the_connector_of_the_runtime_gets_along_with_it(url: str) -> None:
    order = Order(
        key="runs/1/call/step-1-1",
        account="agents/brief",
        arguments={"text": "Gold rose."},
        settings={"url": url},
        credential="secrets/board-key",
        collections=(),
        time=datetime(2026, 1, 1, tzinfo=UTC),
    )

    async def post_and_find() -> list[object]:
        async with httpx.AsyncClient(trust_env=False) as http:
            connector = BoardPost(http, SIGNER)
            unknown = replace(order, key="runs/1/call/step-2-1")
            return [
                await connector.perform(order),
                await connector.find(order),
                await connector.find(unknown),
            ]

    performed, found, nothing = asyncio.run(post_and_find())
    assert performed == found
    assert nothing is None
