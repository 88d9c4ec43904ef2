"""A gas meter in memory: it remembers what it was asked, and refuses when told to."""

from __future__ import annotations

import asyncio
from collections import deque

from chassis.errors import ServiceError
from linker.conversation import Tokens
from linker.ports import Reservation
from linker.tokens import Count


class FakeGasMeter:
    """`linker.ports.GasMeter`: one token costs one gas; settlements count once per hold."""

    def __init__(self) -> None:
        self.reservations: list[Reservation] = []
        self.settled: dict[str, Tokens] = {}
        self.counted: dict[str, Count | None] = {}
        # A settlement waits for this, so that a test can cancel its caller meanwhile.
        self.may_settle = asyncio.Event()
        self.may_settle.set()
        self._failures: deque[ServiceError] = deque()

    def fail_next(self, *errors: ServiceError) -> None:
        """Answer the next calls with these errors, one each."""
        self._failures.extend(errors)

    async def reserve(self, reservation: Reservation) -> str:
        """Return a hold that is named after the request id."""
        self._fail()
        self.reservations.append(reservation)
        return f"holds/{reservation.request_id}"

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge the hold, unless it was charged before."""
        await self.may_settle.wait()
        self._fail()
        self.counted.setdefault(hold, counted)
        charged = self.settled.setdefault(hold, used)
        return charged.input + charged.output

    def _fail(self) -> None:
        if self._failures:
            raise self._failures.popleft()
