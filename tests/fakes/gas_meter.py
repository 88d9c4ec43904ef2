"""A gas meter in memory: it remembers what it was asked, and refuses when told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from chassis.errors import ServiceError
from linker.conversation import Tokens
from linker.errors import PriceNotFound
from linker.ports import Hold, Reservation
from linker.tokens import Count

# What nobody can buy here.
PRICELESS = "model local/priceless"


class FakeGasMeter:
    """`linker.ports.GasMeter`: one token costs one gas; settlements count once per hold."""

    def __init__(self, prices: Mapping[str, int] | None = None) -> None:
        self.reservations: list[Reservation] = []
        self.settled: dict[str, Tokens] = {}
        self.released: list[str] = []
        self.counted: dict[str, Count | None] = {}
        # A settlement waits for this, so that a test can cancel its caller meanwhile.
        self.may_settle = asyncio.Event()
        self.may_settle.set()
        # Gas per unit of a meter, such as `cache_write`; 1 of those that are not here.
        self._prices = {"milliseconds": 0, **(prices or {})}
        self._failures: deque[ServiceError] = deque()

    def fail_next(self, *errors: ServiceError) -> None:
        """Answer the next calls with these errors, one each."""
        self._failures.extend(errors)

    @property
    def open_holds(self) -> set[str]:
        """Return what is neither settled nor released."""
        made = {f"holds/{reservation.request_id}" for reservation in self.reservations}
        return made - set(self.settled) - set(self.released)

    async def quote(self, item: str, used: Tokens) -> int:
        """Return what tokens cost; only one item has no price."""
        if item == PRICELESS:
            raise PriceNotFound(item)
        return sum(self._prices.get(meter, 1) * amount for meter, amount in vars(used).items())

    async def reserve(self, reservation: Reservation) -> Hold:
        """Return a hold that is named after the request id."""
        self._fail()
        name = f"holds/{reservation.request_id}"
        if name not in {f"holds/{one.request_id}" for one in self.reservations}:
            self.reservations.append(reservation)
        return Hold(name, is_released=name in self.released)

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge the hold, unless it was charged before."""
        await self.may_settle.wait()
        self._fail()
        assert hold not in self.released, "what was given back is not charged"
        self.counted.setdefault(hold, counted)
        charged = self.settled.setdefault(hold, used)
        return await self.quote("", charged)

    async def release(self, hold: str) -> None:
        """Give a hold back, unless it was charged."""
        self._fail()
        assert hold not in self.settled, "what was charged is not given back"
        if hold not in self.released:
            self.released.append(hold)

    def _fail(self) -> None:
        if self._failures:
            raise self._failures.popleft()
