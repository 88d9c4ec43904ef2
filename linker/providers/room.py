"""Shares memory among models: who is in use stays, who is not makes room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Model = TypeVar("Model")


class NeverFits(Exception):
    """It needs more memory than there is for all together."""


@dataclass
class _Place(Generic[Model]):
    """Memory for a model, which is on its way while `model` is None."""

    stamp: object
    size: int
    model: Model | None = None
    users: int = 0
    used_time: float = 0.0


class Room(Generic[Model]):
    """Models by name, within a number of bytes; all of it belongs to one event loop.

    A model is loaded when it is first used. It goes when nobody has used it for `idle_seconds`, or
    when another needs the memory and no idle one was used longer ago. In use it stays; whoever
    needs its memory waits. To go means that nobody refers to it from here.
    """

    def __init__(self, *, bytes_max: int, idle_seconds: float) -> None:
        self._bytes_max = bytes_max
        self._idle_seconds = idle_seconds
        self._places: dict[str, _Place[Model]] = {}
        self._changed = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def names(self) -> frozenset[str]:
        """Return which models are in memory."""
        return frozenset(name for name, place in self._places.items() if place.model is not None)

    @asynccontextmanager
    async def use(
        self, name: str, *, stamp: object, size: int, load: Callable[[], Awaitable[Model]]
    ) -> AsyncIterator[Model]:
        """Yield a model, which stays in memory until the end.

        One of another stamp is loaded anew. Raises `NeverFits`, and what `load` raises.
        """
        if size > self._bytes_max:
            raise NeverFits
        place = await self._take(name, stamp, size)
        try:
            if place.model is None:
                place.model = await load()
                self._tell()
            yield place.model
        finally:
            self._give_back(name, place)

    def empty(self) -> Sequence[Model]:
        """Let all models go, and return them."""
        if self._alarm is not None:
            self._alarm.cancel()
        models = [place.model for place in self._places.values() if place.model is not None]
        self._places.clear()
        return models

    async def _take(self, name: str, stamp: object, size: int) -> _Place[Model]:
        """Return a place with one more user, who has to load the model if it is not there."""
        while True:
            place = self._places.get(name)
            if place is not None and place.model is not None and place.stamp == stamp:
                break
            if place is None or not place.users:
                self._places.pop(name, None)
                if self._makes_room(size):
                    place = self._places[name] = _Place(stamp, size)
                    break
            await self._changed.wait()
        place.users += 1
        return place

    def _makes_room(self, size: int) -> bool:
        """Let models go until there is room; false if those in use leave too little."""
        idle = sorted(
            (name for name, place in self._places.items() if not place.users),
            key=lambda name: self._places[name].used_time,
        )
        taken = sum(place.size for place in self._places.values())
        if taken - sum(self._places[name].size for name in idle) + size > self._bytes_max:
            return False
        for name in idle:
            if taken + size > self._bytes_max:
                taken -= self._places.pop(name).size
        return True

    def _give_back(self, name: str, place: _Place[Model]) -> None:
        place.users -= 1
        place.used_time = asyncio.get_running_loop().time()
        # It did not load, so the next may try.
        if place.model is None and self._places.get(name) is place:
            del self._places[name]
        self._tell()
        self._set_alarm()

    def _tell(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _set_alarm(self) -> None:
        """Come back when the model that has been idle for longest has been so for too long."""
        idle = [place.used_time for place in self._places.values() if not place.users]
        if self._alarm is None and idle:
            time = min(idle) + self._idle_seconds
            self._alarm = asyncio.get_running_loop().call_at(time, self._sweep)

    def _sweep(self) -> None:
        self._alarm = None
        old = asyncio.get_running_loop().time() - self._idle_seconds
        for name, place in list(self._places.items()):
            if not place.users and place.used_time <= old:
                del self._places[name]
        self._tell()
        self._set_alarm()
