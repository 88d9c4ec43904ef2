"""Answers that are given again: to exactly the same request of the same agent, for a while."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from chassis.canonical import Json, canonical_json, sha256_hex
from chassis.clock import Clock

from .conversation import Conversation, FinishReason, Prompt, Tokens
from .links import Link
from .orders import Answer, Order
from .paying import Bill
from .trying import call_id

# An answer that was cut off, or that its provider would not finish, is better asked for again.
_WHOLE = (FinishReason.STOP, FinishReason.ACTION)


@dataclass(frozen=True)
class Kept:
    """An answer, and the request that it was made for."""

    answer: Answer
    request_id: str


class AnswerStore(Protocol):
    """Where answers are kept; it blocks, and forgets the least used ones when it is full."""

    def find(self, key: str, now: datetime) -> Kept | None:
        """Return an answer that may still be given."""

    def keep(self, key: str, kept: Kept, *, now: datetime, until: datetime) -> None:
        """Keep an answer until a time."""


class Answers:
    """Gives answers again, at a price of their own."""

    def __init__(self, store: AnswerStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def find(self, key: str, order: Order, bill: Bill) -> Answer | None:
        """Return the answer to the same request before, paid; errors as of `Bill.hold`.

        A repetition of the very request that it was made for costs nothing more.
        """
        kept = await asyncio.to_thread(self._store.find, key, self._clock.now())
        if kept is None:
            return None
        answer, request_id = kept.answer, order.payer.request_id
        if kept.request_id == request_id:
            return answer
        tokens = Tokens(input=answer.tokens.read, output=answer.tokens.written)
        await bill.hold(cache_item(answer.model), tokens)
        calls = tuple(
            replace(call, id=call_id(request_id, index)) for index, call in enumerate(answer.calls)
        )
        gas = await bill.charge(tokens)
        return replace(answer, calls=calls, tokens=tokens, gas=gas, is_cached=True)

    async def keep(self, key: str, order: Order, answer: Answer, seconds: int) -> None:
        """Keep an answer for a while, if it is whole."""
        if answer.reason in _WHOLE:
            now = self._clock.now()
            until = now + timedelta(seconds=seconds)
            kept = Kept(answer, order.payer.request_id)
            await asyncio.to_thread(self._store.keep, key, kept, now=now, until=until)


def cache_item(model: str) -> str:
    """Return what gas knows a kept answer of a model as."""
    return f"cache {model}"


def answer_key(link: Link, order: Order) -> str:
    """Return a digest of all that an answer depends on; empty if it is not to be kept.

    An answer belongs to one agent: what one has been told, no other one is. With dice that nobody
    can throw again, another answer would be as right, so none is kept.
    """
    sampling = order.prompt.sampling
    if not link.config.cache_seconds or (sampling.temperature > 0 and not sampling.seed):
        return ""
    content: Json = {
        "link": link.name,
        "weights": [facts.weights_sha256 for facts in link.facts],
        "account": order.payer.account,
        "prompt": prompt_digest(order.prompt),
    }
    return sha256_hex(canonical_json(content))


def prompt_digest(prompt: Prompt) -> str:
    """Return a digest of everything that a model is asked with."""
    content: Json = {
        "messages": _messages(prompt.conversation),
        "actions": [
            [action.name, action.description, action.parameters_schema]
            for action in prompt.conversation.actions
        ],
        "choice": prompt.choice.value,
        "calls_max": prompt.calls_max,
        "action": prompt.action,
        "answer_schema": prompt.answer_schema,
        # As text: a seed may have more digits than a number of JSON.
        "sampling": {name: repr(value) for name, value in asdict(prompt.sampling).items()},
    }
    return sha256_hex(canonical_json(content))


def _messages(conversation: Conversation) -> Json:
    return [
        [
            message.role.value,
            message.text,
            [[call.id, call.action, call.arguments] for call in message.calls],
            message.call_id,
            [[image.media_type, sha256_hex(image.data)] for image in message.images],
        ]
        for message in conversation.messages
    ]
