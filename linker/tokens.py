"""How many tokens a model will read, as counted here before its provider says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from .conversation import Conversation

# What the format of a chat puts around a turn, a call or an action: control tokens, a role, keys.
FRAME_TOKENS = 16
# What a picture is worth at most. Providers scale what is larger; a few, such as gpt-4o-mini, count
# more, and are charged no more than was held.
IMAGE_TOKENS = 5_000


class Counter(Enum):
    """Who counts here; the values are the names of the contract of gas."""

    TOKENIZER = "COUNTER_TOKENIZER"
    UPPER_BOUND = "COUNTER_UPPER_BOUND"


@dataclass(frozen=True)
class Count:
    """Input tokens of one generation."""

    amount: int
    counter: Counter


def count_at_most(conversation: Conversation) -> Count:
    """Return as many tokens as a conversation can have, for providers that cannot count.

    Byte-level BPE starts with a token for each byte of the UTF-8 and only ever joins neighbours: so
    a text has no more tokens than bytes. This bounds neither tokenizers that rewrite a text before
    they cut it, nor providers that add words of their own.
    """
    frames = 1 + sum(1 + len(message.calls) for message in conversation.messages)
    frames += len(conversation.actions)
    size = sum(len(text.encode("utf-8", "replace")) for text in texts_in(conversation))
    shown = IMAGE_TOKENS * images_in(conversation)
    return Count(size + shown + FRAME_TOKENS * frames, Counter.UPPER_BOUND)


def texts_at_most(texts: Sequence[str]) -> int:
    """Return as many tokens as texts can have that are read one by one."""
    return sum(len(text.encode("utf-8", "replace")) + FRAME_TOKENS for text in texts)


def images_in(conversation: Conversation) -> int:
    """Return how many pictures a conversation shows."""
    return sum(len(message.images) for message in conversation.messages)


def texts_in(conversation: Conversation) -> Iterator[str]:
    """Yield every text that a model reads of a conversation."""
    for message in conversation.messages:
        yield from (message.text, message.call_id)
        for call in message.calls:
            yield from (call.id, call.action, call.arguments)
    for action in conversation.actions:
        yield from (action.name, action.description, action.parameters_schema)
