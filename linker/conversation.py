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
class Image:
    """A picture, as the bytes of a file of a media type such as `image/png`."""

    media_type: str
    data: bytes


@dataclass(frozen=True)
class Message:
    """One turn; `calls` only of the assistant, `call_id` of an action, `images` of the user."""

    role: Role
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    images: tuple[Image, ...] = ()


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
    """How the next token is chosen, and when to stop.

    `top_p` 1, `min_p` 0 and `top_k` 0 cut nothing; penalties of 0 lower nothing. `logprobs` is how
    many of the likeliest tokens are told for each place of the text.
    """

    tokens_max: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stops: tuple[str, ...] = ()
    min_p: float = 0.0
    top_k: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int = 0


@dataclass(frozen=True)
class Prompt:
    """One generation, as a provider is asked for it.

    `action`, with `Choice.REQUIRED`, is the only one that may be called. `answer_schema` is the
    JSON text of a schema that a text answer satisfies; empty for free text. Where many wait, those
    of one `tenant` share its turns.
    """

    conversation: Conversation
    choice: Choice
    sampling: Sampling
    calls_max: int = 1
    action: str = ""
    answer_schema: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class Tokens:
    """What a generation has used so far. No token is in two of these.

    `input` was computed, `cached_input` was known to the provider, `cache_write` was computed and
    kept there for later. `output` can be seen, `reasoning` cannot. `embedding` was embedded.
    `images` are no tokens, and counted by the linker. So are `milliseconds`, in which a model was
    waited for; they are counted where time has a price.
    """

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    embedding: int = 0
    images: int = 0
    milliseconds: int = 0

    @property
    def read(self) -> int:
        """Return how many tokens the model was shown."""
        return self.input + self.cached_input + self.cache_write

    @property
    def written(self) -> int:
        """Return how many tokens the model wrote."""
        return self.output + self.reasoning

    def plus(self, *, output: int = 0, reasoning: int = 0) -> Tokens:
        """Return so many more that were written. Each piece of a text needs it, so it is quick."""
        return Tokens(
            self.input,
            self.output + output,
            self.cached_input,
            self.cache_write,
            self.reasoning + reasoning,
            self.embedding,
            self.images,
            self.milliseconds,
        )


@dataclass(frozen=True)
class TokenLogprob:
    """A token that was likely at one place, and the natural logarithm of its probability."""

    text: str
    logprob: float


@dataclass(frozen=True)
class Logprobs:
    """What could have stood at one place; the likeliest first."""

    chosen: TokenLogprob
    likeliest: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Delta:
    """More text or more reasoning, which may be none, and all that was used until now."""

    text: str
    tokens: Tokens
    reasoning: str = ""


class FinishReason(Enum):
    """Why a generation ended."""

    STOP = "stop"
    ACTION = "action"
    LENGTH = "length"
    FILTERED = "filtered"


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
    reasoning: str = ""
    logprobs: tuple[Logprobs, ...] = ()
