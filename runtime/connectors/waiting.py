"""The actions `run.sleep` and `run.wait`: the run itself waits, for a time or for a signal."""

from __future__ import annotations

from pydantic import JsonValue

from . import Descriptor, closed_object
from .own import Own

SLEEP, WAIT = "run.sleep", "run.wait"
SECONDS_MAX = 7 * 24 * 3_600
_SECONDS: dict[str, JsonValue] = {"type": "number", "minimum": 0, "maximum": SECONDS_MAX}

_SLEEP = Descriptor(
    name=SLEEP,
    description="Waits so many seconds before going on.",
    parameters_schema={
        "type": "object",
        "properties": {"seconds": _SECONDS},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    effect="read",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
    output_schema=closed_object(slept={"type": "boolean"}),
)
_WAIT = Descriptor(
    name=WAIT,
    description="Waits until somebody sends a signal of this name, at most so many seconds.",
    parameters_schema={
        "type": "object",
        "properties": {
            "signal": {"type": "string", "pattern": "^[a-z0-9_.-]{1,64}$"},
            "seconds": _SECONDS,
        },
        "required": ["signal", "seconds"],
        "additionalProperties": False,
    },
    effect="read",
    needs_credential=False,
    settings_schema={"type": "object", "additionalProperties": False},
    output_schema=closed_object(signal={"type": "string"}, payload={}),
)


def waiting_actions() -> tuple[Own, Own]:
    """Return both."""
    return Own(_SLEEP), Own(_WAIT)
