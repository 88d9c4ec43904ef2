"""Tests of functions that are actions: how they describe themselves, and are invoked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from actionvm_sdk import Action, Call, Context, Field, SchemaError, action

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Score:
    value: float


class NoHost:
    def ask(self, calls: object) -> list[Any]:
        return []

    def log(self, text: str) -> None: ...

    def now(self) -> float:
        return 0.0


CONTEXT = Context(NoHost())


@action(capabilities=["web.get"])
def score(ctx: Context, topic: Annotated[str, "a topic"], *, limit: int | None = None) -> Score:
    """Score a topic.

    By its length.
    """
    return Score(len(topic) * (limit or 1))


def test_a_function_describes_itself() -> None:
    assert score.describe() == {
        "name": "score",
        "description": "Score a topic.\n\nBy its length.",
        "capabilities": ["web.get"],
        "parameters_schema": {
            "type": "object",
            "properties": {
                "topic": {"type": "string", "description": "a topic"},
                "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            },
            "required": ["topic"],
            "additionalProperties": False,
        },
        "output_schema": {
            "type": "object",
            "properties": {"value": {"type": "number"}},
            "required": ["value"],
            "additionalProperties": False,
        },
        "line": score.line,
    }


def test_the_line_is_that_of_the_decorator() -> None:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()

    assert lines[score.line - 1] == '@action(capabilities=["web.get"])'


def test_an_action_is_still_its_function() -> None:
    assert score(CONTEXT, "eth", limit=2) == Score(6)
    assert (score.__doc__ or "").startswith("Score a topic.")
    assert getattr(score, "__name__", "") == "score"


def test_an_action_is_invoked_with_json() -> None:
    assert score.invoke(CONTEXT, {"topic": "eth", "limit": 2.0}) == {"value": 6}


def test_values_arrive_as_their_types() -> None:
    @action
    def total(ctx: Context, scores: list[Score]) -> float:
        return sum(one.value for one in scores)

    assert total.invoke(CONTEXT, {"scores": [{"value": 1}, {"value": 2}]}) == 3


def test_an_action_can_have_another_name() -> None:
    @action(name="rate")
    def score(ctx: Context) -> None: ...

    assert score.describe()["name"] == "rate"


def test_a_coroutine_is_brought_to_its_end() -> None:
    @action
    async def score(ctx: Context) -> int:
        return 1

    assert score.invoke(CONTEXT, {}) == 1


def test_a_coroutine_that_waits_is_stopped() -> None:
    class Forever:
        def __await__(self) -> Generator[None, None, None]:
            yield

    @action
    async def score(ctx: Context) -> None:
        await Forever()

    with pytest.raises(RuntimeError, match="only calls of ctx"):
        score.invoke(CONTEXT, {})


def no_context() -> None: ...
def named_context(*, ctx: Context) -> None: ...
def many(ctx: Context, *topics: str) -> None: ...
def others(ctx: Context, **topics: str) -> None: ...
def nameless(ctx: Context, topic: str, /) -> None: ...
def of_bytes(ctx: Context, data: bytes) -> None: ...
def to_bytes(ctx: Context) -> bytes | None: ...
def hidden(ctx: Context, amount: Decimal) -> None: ...
def wrong_default(ctx: Context, limit: int = "many") -> None: ...  # type: ignore[assignment]  # on purpose
def odd_default(ctx: Context, limit: object = b"") -> None: ...
def long(ctx: Context) -> None: ...


long.__doc__ = "x" * 1_025


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (no_context, "no_context has no parameter for its context"),
        (named_context, "named_context has no parameter for its context"),
        (many, "parameter topics has no name of its own"),
        (others, "parameter topics has no name of its own"),
        (nameless, "parameter topic has no name of its own"),
        (of_bytes, "data is bytes"),
        (to_bytes, "the result is bytes"),
        (hidden, "hidden has a type that cannot be found: name 'Decimal'"),
        (wrong_default, "limit has a default that is not of its type"),
        (odd_default, "limit has a default that is bytes"),
        (long, "the docstring of long has 1025 characters"),
        (lambda _: None, "the name '<lambda>'"),
    ],
)
def test_what_cannot_be_an_action_is_refused(function: Callable[..., Any], told: str) -> None:
    made: Action[..., Any] = action(function)

    with pytest.raises(SchemaError) as caught:
        made.describe()

    assert told in str(caught.value)


@pytest.mark.parametrize(
    "capabilities", ["web.get", {"web.get"}, [""], ["web get"], [1], ["a"] * 65]
)
def test_capabilities_that_are_none_are_refused(capabilities: object) -> None:
    decorate: Any = action

    with pytest.raises((TypeError, ValueError), match="capabilit"):
        decorate(capabilities=capabilities)


def test_capabilities_in_the_place_of_a_function_are_refused() -> None:
    decorate: Any = action

    with pytest.raises(TypeError, match="@action is for functions"):
        decorate(["web.get"])


def test_a_result_that_json_does_not_have_names_the_action() -> None:
    @action
    def score(ctx: Context) -> object:
        return {"a": {1: 2}}

    with pytest.raises(TypeError, match="the result of score has keys that are not text"):
        score.invoke(CONTEXT, {})


def test_a_value_that_its_type_refuses_names_the_parameter() -> None:
    @action
    def when(ctx: Context, day: date) -> None: ...

    with pytest.raises(ValueError, match="day is 'noon', which is no date"):
        when.invoke(CONTEXT, {"day": "noon"})


def test_a_field_is_shown_where_it_stands() -> None:
    @action
    def some(ctx: Context, count: Annotated[int, Field("how many", minimum=1)] = 2) -> None: ...

    count = some.describe()["parameters_schema"]["properties"]["count"]
    assert count == {"type": "integer", "description": "how many", "minimum": 1, "default": 2}


def test_a_call_is_what_it_was_made_of() -> None:
    assert Call("a.b", {"c": 1}) == Call(action="a.b", arguments={"c": 1})
