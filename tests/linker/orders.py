"""What the tests of the linker ask of it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

from chassis.canonical import Json
from chassis.clock import Clock
from chassis.database import open_memory_database
from linker.answers import Answers
from linker.conversation import (
    Action,
    Choice,
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Role,
    Sampling,
    WrittenCall,
)
from linker.keys import Keyring
from linker.linker import LOCAL, Linker
from linker.opening import Opener
from linker.orders import Answer, Order, Payer
from linker.paying import Cashier
from linker.ports import Caller, GasMeter, Keys, Provider
from linker.routing.backoff import Backoff
from linker.routing.route import Router
from linker.routing.turns import Turns
from linker.settings import RateBudget
from linker.store import TABLES, KeptAnswers, LinkStore
from tests.fakes.keys import FakeKeys

ACCOUNT = "agents/market-brief"
RUN = "runs/00000000-0000-4000-8000-000000000001"
BOSS = Caller("agents/boss", "runs/00000000-0000-4000-8000-000000000002")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

POST_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["text", "stars"],
}

# Nothing is tried again, so that nobody waits for what is not tested.
ONCE = Backoff(tries_max=1)

Event = TypeVar("Event", bound="Delta | Finished | Answer")


class StoppedClock:
    """A clock that shows one time."""

    def now(self) -> datetime:
        """Return that time."""
        return NOW


def action(schema: Json = POST_SCHEMA, name: str = "board.post") -> Action:
    return Action(name, "Posts a text on the board.", json.dumps(schema))


def conversation(*actions: Action, text: str = "What moved today?") -> Conversation:
    messages = (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, text))
    return Conversation(messages, actions)


def prompt(
    *actions: Action,
    choice: Choice = Choice.NONE,
    text: str = "What moved today?",
    tokens_max: int = 256,
    temperature: float = 0.7,
    seed: int = 1,
    stops: tuple[str, ...] = (),
    logprobs: int = 0,
) -> Prompt:
    sampling = Sampling(
        tokens_max, temperature=temperature, seed=seed, stops=stops, logprobs=logprobs
    )
    return Prompt(conversation(*actions, text=text), choice, sampling)


def order(link: str, prompt: Prompt, request_id: str = "r1") -> Order:
    return Order(link=link, payer=payer(request_id), prompt=prompt)


def payer(request_id: str = "r1") -> Payer:
    return Payer(request_id=request_id, account=ACCOUNT, run=RUN, callers=(BOSS,))


def make_linker(
    provider: Provider,
    gas: GasMeter,
    name: str = "local",
    *,
    keys: Keys | None = None,
    backoff: Backoff = ONCE,
    budgets: Mapping[str, RateBudget] | None = None,
    clock: Clock | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    **others: Provider,
) -> Linker:
    clock = clock or StoppedClock()

    def loop_time() -> float:
        return asyncio.get_running_loop().time()

    database = open_memory_database(TABLES)
    return Linker(
        Opener({name: provider, **others}, Keyring(keys or FakeKeys(clock), clock)),
        LinkStore(database),
        Cashier(gas, monotonic),
        clock,
        router=Router(loop_time, random.Random(1), backoff),
        turns=Turns(budgets or {"local": LOCAL}, monotonic=loop_time),
        answers=Answers(KeptAnswers(database), clock),
    )


async def collect(events: AsyncGenerator[Event, None]) -> list[Event]:
    async with aclosing(events):
        return [event async for event in events]


async def finish(events: AsyncGenerator[Delta | Finished, None]) -> Finished:
    """Return how a generation of a provider ends."""
    last = (await collect(events))[-1]
    assert isinstance(last, Finished)
    return last


def said(finished: Finished) -> tuple[FinishReason, str, tuple[WrittenCall, ...]]:
    """Return the answer alone; how much of the prompt was known before is chance."""
    return finished.reason, finished.text, finished.calls


async def answer(linker: Linker, order: Order) -> Answer:
    """Return how a generation of the linker ends."""
    last = (await collect(linker.generate(order)))[-1]
    assert isinstance(last, Answer)
    return last
