"""One request on its way: tries, waits and fallbacks, until a model answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from chassis.errors import ServiceError
from chassis.log import log

from ..errors import (
    ContextExceeded,
    CredentialRefused,
    ModelUnusable,
    ProviderUnavailable,
    QueueFull,
    RateLimited,
)
from ..links import Target
from .backoff import Backoff, to_tell
from .breaker import Breakers

# How long a model is waited for that has fallbacks, if the caller names no deadline.
PATIENCE_SECONDS = 300.0
# A provider that wants more is not waited for; the caller knows better what to do meanwhile.
ASKED_SECONDS_MAX = 120.0

# Who waits for a turn knows better why it did not come: it may say so first.
LATE = 1.02

Event = TypeVar("Event")
# Asks a model once, which may wait until then.
Attempt: TypeAlias = Callable[[Target, float | None], AsyncGenerator[Event, None]]

# Another try of the same model may succeed.
_PASSING = (ProviderUnavailable, RateLimited)
# Another model may succeed.
_OF_ONE_MODEL = (*_PASSING, QueueFull, CredentialRefused, ModelUnusable, ContextExceeded)


@dataclass(frozen=True)
class Router:
    """Decides what follows a try that failed. Time and dice are handed in.

    A model is tried again where that may help, then the next one is asked, each within its part of
    the time that is left. Once something was said nothing is tried again: it would be said twice.
    """

    monotonic: Callable[[], float]
    dice: random.Random
    backoff: Backoff = field(default_factory=Backoff)
    breakers: Breakers = field(default_factory=Breakers)

    async def route(
        self, targets: Sequence[Target], attempt: Attempt[Event], *, until: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield what the first model says that answers.

        Raises what another try may heal, if anything can, and else what the first model raised.
        """
        failures: list[ServiceError] = []
        for index, target in enumerate(targets):
            end = self._end_of(until, targets_left=len(targets) - index)
            wait: float | None = 0.0
            tries = 0
            while wait is not None and not self._is_resting(target, failures):
                tries += 1
                has_spoken = False
                try:
                    async with aclosing(attempt(target, end)) as events:
                        event = await self._first(events, target, end)
                        while event is not None:
                            has_spoken = True
                            yield event
                            event = await anext(events, None)
                except Exception as error:
                    self._note(target, error)
                    if has_spoken or not isinstance(error, _OF_ONE_MODEL):
                        raise
                    failures.append(error)
                    wait = self._wait(error, tries, end)
                    log.info("route.failed", model=target.model, reason=error.reason, tries=tries)
                    if wait is not None:
                        await asyncio.sleep(wait)
                else:
                    self.breakers.note_answer(target)
                    return
        raise next((error for error in failures if isinstance(error, _PASSING)), failures[0])

    def _end_of(self, until: float | None, *, targets_left: int) -> float | None:
        now = self.monotonic()
        if until is None:
            return None if targets_left == 1 else now + PATIENCE_SECONDS
        return now + (until - now) / targets_left

    def _is_resting(self, target: Target, failures: list[ServiceError]) -> bool:
        seconds = self.breakers.rest_seconds(target, self.monotonic())
        if seconds > 0:
            problem = "it failed too often just now"
            failures.append(ProviderUnavailable(target.model, problem, to_tell(seconds)))
        return seconds > 0

    async def _first(
        self, events: AsyncGenerator[Event, None], target: Target, end: float | None
    ) -> Event | None:
        seconds = None if end is None else (end - self.monotonic()) * LATE
        try:
            async with asyncio.timeout(seconds) as timeout:
                return await anext(events, None)
        except TimeoutError:
            if not timeout.expired():
                raise
            problem = "it has said nothing in the time that it had"
            raise ProviderUnavailable(target.model, problem) from None

    def _note(self, target: Target, error: Exception) -> None:
        if isinstance(error, ProviderUnavailable) or not isinstance(error, ServiceError):
            self.breakers.note_failure(target, self.monotonic())
        elif isinstance(error, CredentialRefused | ModelUnusable):
            self.breakers.note_refusal(target)

    def _wait(self, error: ServiceError, tries: int, end: float | None) -> float | None:
        """Return how long to wait before the same model is asked again; None if it is not."""
        if not isinstance(error, _PASSING) or tries >= self.backoff.tries_max:
            return None
        if error.retry_after_seconds > ASKED_SECONDS_MAX:
            return None
        seconds = self.backoff.seconds(tries, self.dice, asked=error.retry_after_seconds)
        too_late = end is not None and self.monotonic() + seconds >= end
        return None if too_late else seconds
