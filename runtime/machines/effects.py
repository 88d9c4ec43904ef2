"""What a run wants to have done; each effect has a key that is unique within the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from pydantic import TypeAdapter

from chassis.canonical import sha256_hex

from ..conversation import ActionChoice, Message
from ..facts import ActionCall, Outcome
from ..program import ModelChoice, ProgramAction


@dataclass(frozen=True)
class Retrieve:
    """Find passages for the input."""

    query: str

    @property
    def key(self) -> str:
        """Return its name within the run."""
        return "retrieve"


@dataclass(frozen=True)
class Generate:
    """Ask a model."""

    step: int
    model: ModelChoice
    messages: tuple[Message, ...]
    actions: tuple[ProgramAction, ...]
    choice: ActionChoice
    # What a text has to fit, a JSON Schema as JSON text; empty for free text.
    answer_schema: str = ""

    @property
    def key(self) -> str:
        """Return its name within the run."""
        return f"step-{self.step}"


def prompt_sha256(effect: Generate) -> str:
    """Return the digest of all that decides what a model is asked."""
    actions = tuple(action.name for action in effect.actions)
    asked = (effect.model, effect.messages, actions, effect.choice)
    # Of free text nothing is added: so the digests of before stay what they are.
    return sha256_hex(_ASKED.dump_json(asked) + effect.answer_schema.encode())


_ASKED: TypeAdapter[tuple[ModelChoice, tuple[Message, ...], tuple[str, ...], ActionChoice]] = (
    TypeAdapter(tuple[ModelChoice, tuple[Message, ...], tuple[str, ...], ActionChoice])
)


@dataclass(frozen=True)
class Act:
    """Perform a call that policy has allowed; `is_sent` tells that it may have happened already.

    In a dry run it is only described.
    """

    call: ActionCall
    action: ProgramAction
    # One that is being performed becomes one that was sent, and is the same.
    is_sent: bool = field(compare=False)
    is_dry: bool = False
    # What was sent last has certainly not happened; or an answer got lost.
    is_unsent: bool = field(default=False, compare=False)
    is_unknown: bool = field(default=False, compare=False)
    # When what may have happened was first sent; None before.
    first_time: datetime | None = field(default=None, compare=False)
    # What its connector has laid down about it; empty before.
    draft: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Return its name within the run."""
        return self.call.id


@dataclass(frozen=True)
class Sleep:
    """Look again at a time: a fact follows then."""

    call_id: str
    until: datetime

    @property
    def key(self) -> str:
        """Return its name within the run."""
        return self.call_id


@dataclass(frozen=True)
class Close:
    """End the run: close the bill, have it signed."""

    outcome: Outcome

    @property
    def key(self) -> str:
        """Return its name within the run."""
        return "close"


Effect: TypeAlias = Retrieve | Generate | Act | Sleep | Close
