"""The parts of a dialogue with an agent, and what each turn of the agent is there to show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from linker.conversation import Call, Conversation, Message, Role

from .actions import Value


class Kind(Enum):
    """What a turn of the agent should be."""

    ACT = "act"
    ANSWER = "answer"
    ASK = "ask"
    DECLINE = "decline"
    CHAT = "chat"


@dataclass(frozen=True)
class Turn:
    """What is expected of one turn of the agent.

    `facts` must occur in its text; `copied` names the arguments that come from an earlier result.
    """

    kind: Kind
    facts: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """A conversation, and one `Turn` for every message of the agent in it, in order."""

    conversation: Conversation
    turns: tuple[Turn, ...]


def call_message(index: int, name: str, arguments: dict[str, Value]) -> Message:
    """Return the agent's turn number `index` as a call; keys in the order of canonical JSON."""
    text = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return Message(Role.ASSISTANT, "", (Call(f"call-{index}", name, text),))


def result_message(index: int, value: object) -> Message:
    """Return what came of that call, as an agent is shown it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Message(Role.ACTION, text, call_id=f"call-{index}")
