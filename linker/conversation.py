"""The words that the linker and its providers share: what is asked of a model, what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    ACTION = "action"


@dataclass(frozen=True)
class Call:
    """A call of an action; `arguments` is the JSON text of an object."""

    id: str
    action: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One turn; `calls` only of the assistant, `call_id` only of an action."""

    role: Role
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""


@dataclass(frozen=True)
class Action:
    """An action on offer; `parameters_schema` is the JSON text of a schema of an object."""

    name: str
    description: str
    parameters_schema: str


@dataclass(frozen=True)
class Conversation:
    """What the model reads: the turns so far, and what it may do."""

    messages: tuple[Message, ...]
    actions: tuple[Action, ...] = ()


class Choice(Enum):
    """Whether the model must act."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to stop; `top_p` 1 cuts nothing."""

    tokens_max: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One generation, as a provider is asked for it."""

    conversation: Conversation
    choice: Choice
    sampling: Sampling


@dataclass(frozen=True)
class Tokens:
    """What a generation has used so far."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True)
class Delta:
    """More text, which may be none, and all that was used until now."""

    text: str
    tokens: Tokens


class FinishReason(Enum):
    """Why a generation ended."""

    STOP = "stop"
    ACTION = "action"
    LENGTH = "length"


@dataclass(frozen=True)
class WrittenCall:
    """A call as the model wrote it, before the linker has checked and named it."""

    action: str
    arguments: str


@dataclass(frozen=True)
class Finished:
    """The end of a generation, whole. A call that was not completed is not in `calls`."""

    reason: FinishReason
    text: str
    calls: tuple[WrittenCall, ...]
    tokens: Tokens
