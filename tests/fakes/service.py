"""A service outside as a connector of its own, which keeps what it promises and no more."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from chassis.errors import PeerUnavailable
from runtime.connectors import Descriptor, Order, Quota, Result, Unsent


class FakeService:
    """Counts effects by key; it drops duplicates only where its descriptor says so.

    `fail_next` takes, for one call each: `"unsent"`, it certainly does not happen; `"failed"`, it
    does not happen, and nobody can tell; `"lost"`, it happens, and nobody is told.
    """

    def __init__(
        self,
        like: Descriptor,
        *,
        idempotent: bool,
        reconcilable: bool,
        quotas: tuple[Quota, ...] = (),
    ) -> None:
        self.descriptor = replace(
            like, is_idempotent=idempotent, is_reconcilable=reconcilable, quotas=quotas
        )
        # What it asks for when it does not take something.
        self.retry_seconds = 0.0
        # How often each key took effect, and all that came, with what was said about it.
        self.effects: dict[str, int] = {}
        self.arrivals: list[str] = []
        self._failures: deque[str] = deque()

    def fail_next(self, *failures: str) -> None:
        """Fail the next calls, in order."""
        self._failures.extend(failures)

    async def perform(self, order: Order) -> Result:
        """Take effect, or fail as told."""
        failure = self._failures.popleft() if self._failures else ""
        if failure == "unsent":
            raise Unsent("service", self.retry_seconds)
        self.arrivals.append(failure)
        is_dropped = self.descriptor.is_idempotent and order.key in self.effects
        if failure != "failed" and not is_dropped:
            self.effects[order.key] = self.effects.get(order.key, 0) + 1
        if failure:
            raise PeerUnavailable("service")
        return Result({"done": True})

    async def find(self, order: Order) -> Result | None:
        """Look, where that is possible."""
        assert self.descriptor.is_reconcilable, "nobody else can be asked"
        if self._failures and self._failures.popleft():
            raise PeerUnavailable("service")
        return Result({"done": True}) if order.key in self.effects else None
