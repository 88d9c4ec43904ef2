"""What is asked on the internet for models and hostile code, and what may come of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from chassis.errors import PeerUnavailable

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Request:
    """What is asked; names of headers are lower-case, and those of the wire are not among them.

    One that `is_bound` has a key in it, which is for this address: no redirect is followed.
    """

    method: str
    url: str = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = b""
    is_bound: bool = False


@dataclass(frozen=True)
class Answer:
    """What was answered, decompressed; `is_cut` says that there was more of it.

    Names of headers are lower-case; of those that come twice, the first counts.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False


@dataclass(eq=False)
class Refused(Exception):
    """A request that must not be made, or an answer that is not taken: a code, and the way out."""

    reason: str
    message: str


class Unreached(PeerUnavailable):
    """No connection came about: nothing was sent."""


class Lost(PeerUnavailable):
    """It was sent, and no whole answer came back."""
