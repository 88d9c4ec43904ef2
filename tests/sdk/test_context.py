"""Tests of what an action can use, and of what it asks its host for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from actionvm_sdk import Call, CallError, Context, Denied

PAGE = {"status": 200, "url": "https://a.example/", "content_type": "text/plain", "text": "hi"}


class FakeHost:
    """Answers each call with the next answer."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[list[Call]] = []
        self.lines: list[str] = []

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        self.asked.append([*calls])
        return [self.answers.pop(0) for _ in calls]

    def log(self, text: str) -> None:
        self.lines.append(text)

    def now(self) -> float:
        return 1_767_225_600.0


@dataclass
class Post:
    text: str


@pytest.mark.parametrize(
    ("use", "answer", "call", "value"),
    [
        (
            lambda ctx: ctx.http.get("https://a.example/", query={"n": 1}).text,
            PAGE,
            Call("web.get", {"url": "https://a.example/", "query": {"n": 1}}),
            "hi",
        ),
        (
            lambda ctx: ctx.http.post("https://a.example/", json={"a": [1]}).status,
            PAGE | {"status": 201},
            Call("web.send", {"method": "POST", "url": "https://a.example/", "json": {"a": [1]}}),
            201,
        ),
        (
            lambda ctx: ctx.http.send("PUT", "u", text="x", content_type="text/csv").ok,
            PAGE | {"status": 404},
            Call(
                "web.send", {"method": "PUT", "url": "u", "text": "x", "content_type": "text/csv"}
            ),
            False,
        ),
        (
            lambda ctx: ctx.llm("why?", tokens_max=9),
            {"text": "so"},
            Call("llm.ask", {"prompt": "why?", "tokens_max": 9}),
            "so",
        ),
        (
            lambda ctx: ctx.knowledge.search("ferry"),
            {"passages": [{"document": "d", "text": "t"}]},
            Call("knowledge.search", {"query": "ferry"}),
            [{"document": "d", "text": "t"}],
        ),
        (
            lambda ctx: ctx.service("board").post(text="hi"),
            {"id": "1"},
            Call("board.post", {"text": "hi"}),
            {"id": "1"},
        ),
        (
            lambda ctx: ctx.call("board.post", posts=[Post("hi")]),
            None,
            Call("board.post", {"posts": [{"text": "hi"}]}),
            None,
        ),
    ],
)
def test_each_use_is_a_call_of_the_host(
    use: Callable[[Context], Any], answer: object, call: Call, value: object
) -> None:
    host = FakeHost(answer)

    assert use(Context(host)) == value
    assert host.asked == [[call]]


def test_an_answer_that_was_json_is_read_as_json() -> None:
    answer = {"status": 200, "url": "u", "content_type": "application/json", "json": {"a": 1}}

    response = Context(FakeHost(answer)).http.get("u")

    assert (response.json(), response.text) == ({"a": 1}, '{"a": 1}')


def test_a_page_that_is_no_json_says_so() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Context(FakeHost(PAGE)).http.get("u").json()


def test_calls_at_once_are_asked_at_once_and_answered_in_order() -> None:
    host = FakeHost(1, 2)

    assert Context(host).gather(Call("a.b", {}), Call("c.d", {"e": 1})) == [1, 2]
    assert host.asked == [[Call("a.b", {}), Call("c.d", {"e": 1})]]


def test_nothing_at_once_asks_nobody() -> None:
    host = FakeHost()

    assert Context(host).gather() == []
    assert host.asked == []


def test_a_refusal_is_raised() -> None:
    with pytest.raises(Denied, match="DENIED: not granted") as caught:
        Context(FakeHost(Denied("DENIED", "not granted"))).call("a.b")

    assert (caught.value.reason, caught.value.message) == ("DENIED", "not granted")


def test_a_refusal_among_many_is_raised_or_stands_in_its_place() -> None:
    error = CallError("UNKNOWN", "nobody knows")
    calls = (Call("a.b", {}), Call("a.c", {}))

    with pytest.raises(CallError, match="UNKNOWN"):
        Context(FakeHost(1, error)).gather(*calls)
    assert Context(FakeHost(1, error)).gather(*calls, return_exceptions=True) == [1, error]


def test_an_argument_that_json_does_not_have_is_refused_before_it_is_asked() -> None:
    host = FakeHost(1)

    with pytest.raises(TypeError, match=r"an argument of a\.b is bytes"):
        Context(host).call("a.b", data=b"x")
    assert host.asked == []


def test_a_service_has_no_private_methods() -> None:
    service = Context(FakeHost()).service("board")

    with pytest.raises(AttributeError):
        _ = service.__wrapped__


def test_lines_are_logged_as_they_would_be_printed() -> None:
    host = FakeHost()

    Context(host).log("price", 1.5, None)

    assert host.lines == ["price 1.5 None"]


def test_the_time_is_that_of_the_host() -> None:
    assert Context(FakeHost()).now() == datetime(2026, 1, 1, tzinfo=UTC)
