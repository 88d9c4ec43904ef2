"""What a sandbox is: it executes the code of somebody else, and answers to nobody but its host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

from chassis.canonical import Json, canonical_json, sha256_hex

from .limits import Limits
from .outcome import Examined, Outcome


@dataclass(frozen=True)
class Code:
    """The files of an action, by path; `main` is the one with its function."""

    main: str
    files: Mapping[str, str]

    @cached_property
    def sha256(self) -> str:
        """Return what identifies it."""
        return sha256_hex(canonical_json({"main": self.main, "files": dict(self.files)}))


@dataclass(frozen=True)
class Component:
    """What was compiled from any language for the world `action` of `guest/runner.wit`."""

    wasm: bytes
    # Where it says what is wrong, as if it were a file.
    main: str = "action.wasm"

    @cached_property
    def sha256(self) -> str:
        """Return what identifies it: the digest of its bytes."""
        return sha256_hex(self.wasm)


Executable: TypeAlias = Code | Component


@dataclass(frozen=True)
class Order:
    """One execution; arguments fit the schema of the action, `seed` is that of its dice."""

    action: str
    arguments: Mapping[str, Json]
    seed: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Asked:
    """Something that code asks its host for; nothing in it is trusted."""

    action: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True)
class Answer:
    """What the host says; `reason` is a code in capitals if it refuses."""

    value: Json = None
    reason: str = ""
    message: str = ""


class Suspended(Exception):
    """The host has no answer yet; the same order is executed again once it has."""


class Host(Protocol):
    """Whoever lets code be executed, and answers what it asks."""

    def begin(self) -> None:
        """Hear that an execution begins: the first one, or another if its worker was lost."""

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Answer each call, in their order; raise `Suspended` to have the execution dropped."""

    def now(self) -> float:
        """Return the time that the code sees, in seconds since 1970."""


class Sandbox(Protocol):
    """Executes code."""

    async def examine(self, code: Executable) -> Examined:
        """Compile code and let it describe itself, with nothing to ask for."""

    async def execute(self, code: Executable, order: Order, host: Host) -> Outcome:
        """Execute an action; raise `Suspended` if the host did, and `SandboxUnavailable`."""
