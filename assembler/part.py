"""What all parts of a manifest have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_SECONDS = {"s": 1, "m": 60, "h": 3_600}


class Part(BaseModel):
    """A mapping of a manifest; it has no other fields than its own."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def seconds_of(duration: str) -> int:
    """Return a duration such as `2m` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]
