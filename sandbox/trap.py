"""How code is stopped from within its worker."""

from __future__ import annotations

from .outcome import Reason


class Trap(Exception):
    """Code was stopped."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message
