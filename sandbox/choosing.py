"""Which sandbox some code is for."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from .errors import SandboxUnavailable
from .jail import Survey
from .ports import Component, Executable

_DIGEST = re.compile("[0-9a-f]{64}")


class Wall(Enum):
    """What stands first between code and the machine."""

    FILES = auto()
    COMPONENTS = auto()
    # CPython itself: the jail is the only wall.
    NATIVE = auto()


def choose(code: Executable, *, native: frozenset[str], survey: Survey) -> Wall:
    """Return where code is executed; raise `SandboxUnavailable`.

    `native` has the digests that the operator lets out of WebAssembly; nothing that code or an
    agent says does that, and only a strong jail may be the only wall.
    """
    if isinstance(code, Component):
        return Wall.COMPONENTS
    if code.sha256 not in native:
        return Wall.FILES
    if not survey.is_strong:
        lacks = "; ".join(f"{one.layer}: {one.way_out}" for one in survey.lacks())
        raise SandboxUnavailable(f"nothing is executed outside of WebAssembly here: {lacks}")
    return Wall.NATIVE


def _checked(text: str) -> str:
    read_digests(text)
    return text


def read_digests(text: str) -> frozenset[str]:
    """Return the digests that a setting has, with spaces between; raise `ValueError`."""
    digests = text.split()
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"has '{digest[:80]}', which is no SHA-256 of code: 64 of 0-9 and a-f")
    return frozenset(digests)


# As the settings of a service have it.
Digests: TypeAlias = Annotated[str, AfterValidator(_checked)]
