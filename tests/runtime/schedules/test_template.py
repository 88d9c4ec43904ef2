"""Templates: what fired becomes data of the input, never structure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.schedules.schedule import EVENT_BYTES_MAX, Firing
from runtime.schedules.template import TEMPLATE_BYTES_MAX, fill, read_event, read_template
from tests.runtime.schedules.schedules import NAME, NOW


def filled(template: object, event: object = None, key: str = "k") -> object:
    """Return the input of a run, read again."""
    text = read_template(json.dumps(template), has_events=True)
    firing = Firing(NAME, 1, key, NOW, event=json.dumps(event))
    found: object = json.loads(fill(text, firing))
    return found


def test_a_whole_string_becomes_the_event_itself() -> None:
    assert filled({"a": ["{{event}}"]}, {"b": 1}) == {"a": [{"b": 1}]}


def test_within_a_string_the_event_is_text() -> None:
    assert filled("got {{ event }} at {{time}}", {"b": 1}) == f'got {{"b":1}} at {NOW.isoformat()}'


def test_schedule_and_id_are_put_in() -> None:
    assert filled(["{{schedule}}", "{{event_id}}"], key="d-1") == [NAME, "d-1"]


@pytest.mark.parametrize(
    "event",
    ['"], "admin": true, "x": ["', "{{schedule}}", {"{{time}}": "{{event_id}}"}, "\\", "\n"],
)
def test_an_event_cannot_change_the_structure(event: object) -> None:
    assert filled({"event": "{{event}}"}, event) == {"event": event}
    text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
    assert filled({"event": "<{{event}}>"}, event) == {"event": f"<{text}>"}


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_whatever_an_event_is_it_arrives_as_it_is(event: object) -> None:
    assert filled({"a": "{{event}}", "b": 1}, event) == {"a": event, "b": 1}


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{", "Expecting"),
        ('"{{user}}"', "has the placeholder 'user'"),
        ('"{{}}"', "has the placeholder ''"),
        ('["{{event}}", "{{event}}"]', "has the event more than once"),
        (json.dumps(["{{time}}"] * 17), "has 17 placeholders"),
        (json.dumps("a" * TEMPLATE_BYTES_MAX), "is longer than"),
        ("[" * 65 + "]" * 65, "is nested deeper than 64"),
        ("NaN", "NaN"),
        ('"\\ud800"', "surrogate"),
    ],
)
def test_what_is_no_template_is_refused(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_template(template, has_events=True)


def test_times_have_no_event() -> None:
    with pytest.raises(ValueError, match="times have none"):
        read_template('"{{event}}"', has_events=False)


def test_the_default_says_what_fired() -> None:
    assert json.loads(read_template("", has_events=False)) == {"time": "{{time}}"}
    assert set(json.loads(read_template("", has_events=True))) == {"time", "event"}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("", "Expecting"),
        (f'"{"a" * EVENT_BYTES_MAX}"', "is longer than"),
        # Numbers grow when they are written again.
        (json.dumps([1e5] * 2_000).replace("100000.0", "1e5"), "is longer than"),
        ("[" * 900 + "]" * 900, "is nested deeper than 64"),
        ("1e999", "not JSON compliant"),
    ],
)
def test_what_is_no_event_is_refused(event: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_event(event)


def test_the_largest_event_fits_into_the_largest_template() -> None:
    event = read_event(json.dumps('"' * (EVENT_BYTES_MAX // 2 - 2)))
    places = "{{event_id}}" * 15 + "{{event}}"
    template = json.dumps(places + "a" * (TEMPLATE_BYTES_MAX - len(places) - 2))
    firing = Firing(NAME, 1, '"' * 128, NOW, event=event)
    assert len(fill(read_template(template, has_events=True), firing)) > 2 * EVENT_BYTES_MAX
