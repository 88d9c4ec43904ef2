"""Whatever a worker or the code in it says, only what is declared is raised."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sandbox.frames import Broken
from sandbox.incoming import Incoming, from_json
from sandbox.limits import Limits
from sandbox.outcome import Examined, Outcome
from sandbox.ports import Asked, Order
from sandbox.reading import (
    Done,
    _Action,
    _Result,
    read_asked,
    read_done,
    read_examined,
    read_outcome,
)
from tests.sandbox.forgery import framed
from tests.sandbox.worlds import acting

CODE = acting("return 1")
ORDER = Order("act", {}, 1)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**53, -(2**400), True])
TEXT = st.text(st.characters() | st.sampled_from(["\ud800", "\x00", "\u2028"]), max_size=20)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT
NAMES = st.sampled_from([*_Result.model_fields, *_Action.model_fields, *Done.model_fields])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES | TEXT, inner, max_size=6),
    max_leaves=30,
)


def _is_plain(value: Any) -> bool:  # noqa: ANN401  # what was read as JSON
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


# What fits one of the forms, with anything in its places.
FORMS = st.fixed_dictionaries(
    {},
    optional={
        "value": VALUES,
        "error": st.fixed_dictionaries(
            {"kind": TEXT, "message": TEXT}, optional={"frames": st.lists(VALUES)}
        ),
        "actions": st.lists(st.fixed_dictionaries({"name": TEXT, "parameters_schema": VALUES})),
    },
)
CALLS = st.lists(st.fixed_dictionaries({"action": st.just("a.b"), "arguments": VALUES}))
WRITTEN = (VALUES | FORMS | CALLS).map(json.dumps)
DEEP = st.integers(0, 3_000).map(lambda depth: "[" * depth + "]" * depth)
DIGITS = st.integers(1, 6_000).map(lambda count: "[" + "1" * count + "]")
TEXTS = st.text(max_size=50) | WRITTEN | DEEP | DIGITS | WRITTEN.map(lambda text: text[:-1])
PARTS = st.binary(max_size=40) | TEXTS.map(lambda text: framed(text.encode(errors="replace")))


@given(st.lists(PARTS, max_size=5), st.integers(1, 50))
def test_bytes_are_messages_or_broken(parts: list[bytes], size: int) -> None:
    data, incoming = b"".join(parts), Incoming()
    messages: list[tuple[int, bytes]] = []
    with suppress(Broken):
        for start in range(0, len(data), size):
            messages += incoming.feed(data[start : start + size])
        for _, body in messages:
            from_json(body)


@given(st.binary(max_size=50) | TEXTS.map(lambda text: text.encode(errors="replace")))
def test_a_question_is_plain_or_wrong_or_broken(body: bytes) -> None:
    with suppress(Broken):
        asked = read_asked(body, Limits())
        if isinstance(asked, str):
            assert len(asked) < 1_000
            return
        assert all(isinstance(one, Asked) and _is_plain(one.arguments) for one in asked)


@given(VALUES)
def test_an_end_is_within_limits_or_broken(value: object) -> None:
    with suppress(Broken):
        done = read_done(value, Limits())
        assert done.fuel <= Limits.fuel


@given(st.builds(Done, answer=TEXTS))
def test_an_answer_is_an_outcome_that_is_plain(done: Done) -> None:
    outcome = read_outcome(done, ORDER)
    assert isinstance(outcome, Outcome)
    assert _is_plain(outcome.value)
    assert _is_plain(outcome.message)


@given(st.builds(Done, answer=TEXTS))
def test_a_description_is_examined(done: Done) -> None:
    examined = read_examined(done, CODE)
    assert isinstance(examined, Examined)
    assert all(_is_plain(flaw.message) for flaw in examined.flaws)
    assert all(_is_plain(one.parameters_schema) for one in examined.actions)
