"""What all parts of a manifest have in common."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

_SECONDS = {"s": 1, "m": 60, "h": 3_600}
_PATH_PART = r"[^/\\\x00-\x1f\x7f-\x9f]+"
_PATH = re.compile(rf"(?=.{{1,256}}\Z)(?!.*\.\.)(?:(?!\.?/){_PATH_PART}/)*(?!\.\Z){_PATH_PART}")


class Part(BaseModel):
    """A mapping of a manifest; it has no other fields than its own."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def seconds_of(duration: str) -> int:
    """Return a duration such as `2m` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def is_safe_path(path: str) -> bool:
    """Return whether a path stays in its folder and is written in the one normal way."""
    return bool(_PATH.fullmatch(path))


def _check_path(path: str) -> str:
    if not is_safe_path(path):
        raise PydanticCustomError(
            "PATH_FORBIDDEN", "must be a path below the manifest, with / and without `.` and `..`"
        )
    return path


SafePath = Annotated[str, AfterValidator(_check_path)]
Id = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
