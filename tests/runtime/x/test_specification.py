"""What is asked of X, and understood, is what X has published."""

from __future__ import annotations

import random

import pytest
from pydantic import JsonValue

from chassis.errors import PeerUnavailable
from tests.fakes.x import json_answer
from tests.openapi import Specification
from tests.runtime.x.actions import CALLS, Actions
from tests.specs import specs_folder


@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_every_request_is_one_of_the_specification(
    actions: Actions, name: str, arguments: dict[str, JsonValue]
) -> None:
    specification = Specification(specs_folder("x") / "openapi.json")
    assert not (await actions.call(name, **arguments)).reason
    assert actions.x.asked
    for one in actions.x.asked:
        specification.check(one.method, one.target, one.headers.get("content-type", ""), one.body)


def test_a_request_that_is_none_of_the_specification_is_noticed() -> None:
    specification = Specification(specs_folder("x") / "openapi.json")
    kind = "application/json"
    for method, target, body in [
        ("POST", "/2/tweets", b'{"text": "a", "reply_to": "1"}'),
        ("POST", "/2/tweets?dry=1", b'{"text": "a"}'),
        ("PUT", "/2/tweets", b"{}"),
        ("GET", "/2/tweets/search/recent", b""),
        ("GET", "/2/tweets/search/recent?query=a&max_results=5", b""),
        ("DELETE", "/2/tweets/a", b""),
    ]:
        with pytest.raises(Exception, match=r".+"):
            specification.check(method, target, kind, body)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("name", "arguments"), CALLS)
async def test_whatever_the_specification_lets_x_answer_is_understood(
    actions: Actions, name: str, arguments: dict[str, JsonValue], seed: int
) -> None:
    specification = Specification(specs_folder("x") / "openapi.json")
    await actions.call(name, **arguments)
    *first, last = actions.x.asked
    status, value = specification.answer(last.method, last.path, random.Random(seed))
    actions.x.fail_next(*[""] * len(first), json_answer(status, value))
    try:
        result = await actions.call(name, **arguments)
    except PeerUnavailable:
        # Nothing of an answer is required, but without an id it says nothing.
        data = value.get("data")
        assert data is None or not all("id" in one for one in _things(data))
    else:
        assert isinstance(result.value, dict)
        assert "data" in value or result.reason or result.value == {"posts": []}


def _things(data: object) -> list[dict[str, object]]:
    found = data if isinstance(data, list) else [data]
    return [one for one in found if isinstance(one, dict)]
