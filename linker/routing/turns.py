"""Turns: who may ask a provider now, so that a key stays within its rate, and agents are equal."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ..errors import QueueFull, RateLimited
from ..settings import RateBudget
from .backoff import to_tell

MINUTE = 60.0
# Requests that wait for one key; more are refused.
WAITING_MAX = 256
KEYS_MAX = 10_000


@dataclass
class Bucket:
    """So much per minute, at most a minute's worth at once; 0 per minute is no limit."""

    per_minute: int
    level: float = field(init=False)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def seconds_until(self, amount: float, now: float) -> float:
        """Return when an amount is there; one that never fits waits until all is there."""
        if not self.per_minute:
            return 0.0
        self._fill(now)
        lacking = min(amount, self.per_minute) - self.level
        return max(lacking, 0.0) * MINUTE / self.per_minute

    def take(self, amount: float, now: float) -> None:
        """Take an amount; a negative one is put back. What is taken may be a debt."""
        if self.per_minute:
            self._fill(now)
            self.level = min(self.level - amount, float(self.per_minute))

    def _fill(self, now: float) -> None:
        gained = max(now - self.time, 0.0) * self.per_minute / MINUTE
        self.level = min(self.level + gained, float(self.per_minute))
        self.time = max(now, self.time)


@dataclass
class _Waiting:
    tokens: int
    granted: asyncio.Future[None]


@dataclass
class Turn:
    """The right to ask once; `used` is set to the tokens that it took, when they are known."""

    estimated: int
    used: int | None = None


class _Line:
    """Those who wait for one key: within an account in order, among accounts in turn."""

    def __init__(self, budget: RateBudget, monotonic: Callable[[], float]) -> None:
        self.budget = budget
        self.in_flight = 0
        self.waiting_count = 0
        self._monotonic = monotonic
        self._requests = Bucket(budget.requests_per_minute, time=monotonic())
        self._tokens = Bucket(budget.tokens_per_minute, time=monotonic())
        self._pause_until = 0.0
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody asks or waits."""
        return not self.in_flight and not self.waiting_count

    def pause(self, seconds: float) -> None:
        """Let nobody ask for a while, since the provider wants that."""
        self._pause_until = max(self._pause_until, self._monotonic() + seconds)

    def seconds_until(self, tokens: int) -> float:
        """Return how long the rate keeps one waiting who is first."""
        now = self._monotonic()
        return max(
            self._pause_until - now,
            self._requests.seconds_until(1, now),
            self._tokens.seconds_until(tokens, now),
            0.0,
        )

    def enter_at_once(self, tokens: int) -> bool:
        """Take a turn if nobody is before, and tell whether that is so."""
        is_free = not self.waiting_count and self._has_room() and not self.seconds_until(tokens)
        if is_free:
            self._take(tokens)
        return is_free

    async def enter(self, account: str, tokens: int) -> None:
        """Wait for a turn; who goes away leaves the line."""
        waiting = _Waiting(tokens, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account, deque()).append(waiting)
        self.waiting_count += 1
        self._advance()
        try:
            await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self.leave(Turn(tokens, used=0))
            else:
                self._drop(account, waiting)
                self._advance()
            raise

    def leave(self, turn: Turn) -> None:
        """Let the next one in; what was estimated too high is given back."""
        self.in_flight -= 1
        if turn.used is not None:
            self._tokens.take(turn.used - turn.estimated, self._monotonic())
        self._advance()

    def _has_room(self) -> bool:
        return not self.budget.in_flight_max or self.in_flight < self.budget.in_flight_max

    def _take(self, tokens: int) -> None:
        now = self._monotonic()
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        self.in_flight += 1

    def _advance(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._has_room():
            account = next(iter(self._waiting))
            first = self._waiting[account][0]
            seconds = self.seconds_until(first.tokens)
            if seconds > 0:
                # A timer may ring a little early, and a moment more costs nothing.
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(seconds + 0.001, self._advance)
                return
            self._drop(account, first)
            self._take(first.tokens)
            first.granted.set_result(None)

    def _drop(self, account: str, waiting: _Waiting) -> None:
        line = self._waiting[account]
        line.remove(waiting)
        self.waiting_count -= 1
        # Whose turn it was comes last now.
        del self._waiting[account]
        if line:
            self._waiting[account] = line


class Turns:
    """The lines of all keys; a key is a provider and the secret that opens it.

    `budgets` are by name of provider; without one, everybody may ask at once.
    """

    def __init__(
        self, budgets: Mapping[str, RateBudget], *, monotonic: Callable[[], float]
    ) -> None:
        self._budgets = budgets
        self._monotonic = monotonic
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()

    @asynccontextmanager
    async def turn(
        self, model: str, credential: str, account: str, *, tokens: int, until: float | None
    ) -> AsyncIterator[Turn]:
        """Wait for a turn, and have it while the block runs.

        Raises `QueueFull` if too many wait, and `RateLimited` if it does not come until then. What
        the block raises as `RateLimited` keeps others of the same key from asking too early.
        """
        line = self._line(model.partition("/")[0], credential)
        if line.waiting_count >= WAITING_MAX:
            raise QueueFull(line.waiting_count)
        if not line.enter_at_once(tokens):
            await self._enter(line, model, account, tokens, until)
        turn = Turn(tokens)
        try:
            yield turn
        except RateLimited as error:
            line.pause(error.retry_after_seconds)
            raise
        finally:
            line.leave(turn)

    async def _enter(
        self, line: _Line, model: str, account: str, tokens: int, until: float | None
    ) -> None:
        try:
            left = None if until is None else until - self._monotonic()
            async with asyncio.timeout(left):
                await line.enter(account, tokens)
        except TimeoutError:
            problem = "the rate budget of its key is used up, and others wait"
            raise RateLimited(model, problem, to_tell(line.seconds_until(tokens))) from None

    def _line(self, provider: str, credential: str) -> _Line:
        line = self._lines.get((provider, credential))
        if line is None:
            if len(self._lines) >= KEYS_MAX:
                self._lines = OrderedDict(
                    (key, line) for key, line in self._lines.items() if not line.is_idle
                )
            budget = self._budgets.get(provider, RateBudget())
            line = self._lines[provider, credential] = _Line(budget, self._monotonic)
        return line
