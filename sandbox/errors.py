"""What keeps a sandbox from executing anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class SandboxUnavailable(Exception):
    """Nothing can be executed now; `told` says why."""

    told: str

    def __str__(self) -> str:
        """Return why."""
        return self.told
