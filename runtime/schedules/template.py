"""The input of a run, made of a template and of what fired: text becomes data, never structure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from ..jsontext import read_json, write_json
from .schedule import EVENT_BYTES_MAX, Firing

TEMPLATE_BYTES_MAX = 16 * 1024
PLACEHOLDERS_MAX = 16
NESTING_MAX = 64
# What is put in is not longer than twice the event, as text within a text.
INPUT_BYTES_MAX = 64 * 1024

TIMED_DEFAULT = '{"time":"{{time}}"}'
EVENT_DEFAULT = '{"event":"{{event}}","time":"{{time}}"}'

_EVENT = "event"
_NAMES = ("time", "schedule", "event_id", _EVENT)
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]*)\s*\}\}")


def read_template(text: str, *, has_events: bool) -> str:
    """Return a template that can be filled in; raise `ValueError` with what is wrong."""
    if not text:
        return EVENT_DEFAULT if has_events else TIMED_DEFAULT
    if len(text.encode()) > TEMPLATE_BYTES_MAX:
        raise ValueError(f"is longer than {TEMPLATE_BYTES_MAX} bytes")
    template = write_json(_shallow(read_json(text)))
    if len(template.encode()) > TEMPLATE_BYTES_MAX:
        raise ValueError(f"is longer than {TEMPLATE_BYTES_MAX} bytes")
    names = _PLACEHOLDER.findall(template)
    unknown = sorted({name for name in names if name not in _NAMES})
    if unknown:
        known = ", ".join(_NAMES)
        raise ValueError(f"has the placeholder {unknown[0]!r}; there are {known}")
    if len(names) > PLACEHOLDERS_MAX:
        raise ValueError(f"has {len(names)} placeholders; at most {PLACEHOLDERS_MAX} are allowed")
    if names.count(_EVENT) > 1:
        raise ValueError("has the event more than once")
    if _EVENT in names and not has_events:
        raise ValueError("has an event, but times have none")
    return template


def fill(template: str, firing: Firing) -> str:
    """Return the input of the run of a firing: always the same for the same firing."""
    values: dict[str, JsonValue] = {
        "time": firing.time.isoformat(),
        "schedule": firing.schedule,
        "event_id": firing.key,
        _EVENT: read_json(firing.event) if firing.event else None,
    }
    text = write_json(_filled(read_json(template), values))
    assert len(text.encode()) <= INPUT_BYTES_MAX, "the limits of its parts leave room"
    return text


def read_event(text: str) -> str:
    """Return the JSON text of an event; raise `ValueError` with what is wrong."""
    event = write_json(_shallow(read_json(text)))
    if len(event.encode()) > EVENT_BYTES_MAX:
        raise ValueError(f"is longer than {EVENT_BYTES_MAX} bytes")
    return event


def _shallow(value: JsonValue) -> JsonValue:
    """Return a value that can be read and written wherever the stack stands."""
    level = [value]
    for _ in range(NESTING_MAX):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
    if level:
        raise ValueError(f"is nested deeper than {NESTING_MAX}")
    return value


def _filled(value: JsonValue, values: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        return {name: _filled(member, values) for name, member in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole:
        return values[whole[1]]

    def text_of(found: re.Match[str]) -> str:
        part = values[found[1]]
        return part if isinstance(part, str) else write_json(part)

    # Once: what was put in is not looked at again.
    return _PLACEHOLDER.sub(text_of, value)
