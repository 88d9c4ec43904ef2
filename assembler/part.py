"""What all parts of a manifest have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping of a manifest; it has no other fields than its own."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
