"""What platformd refuses, and why it does not start."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """A request that is answered with no; `reason` travels in the answer."""

    reason: ClassVar[str]


class FieldRefused(Refusal):
    """A field, or the operation, is not one that the contract knows."""

    reason = "FIELD_INVALID"


class SecurityVersionRefused(Refusal):
    """Old code asked for a key of newer code."""

    reason = "SECURITY_VERSION_TOO_NEW"


class VouchRefused(Refusal):
    """Who vouches is not the parent of platformd, or does not speak of a child of its own."""

    reason = "VOUCH_REFUSED"


class CallerRefused(Refusal):
    """The packet does not come from the process that connected and was measured."""

    reason = "CALLER_REFUSED"


class PlatformUnusable(Exception):
    """platformd must not start: it would count or derive something else than before."""
