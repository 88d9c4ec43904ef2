"""Models share memory: who is in use stays, who is not makes room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from linker.providers.room import NeverFits, Room

LONG = 3600.0


class Loader:
    """Loads models that are words, and counts."""

    def __init__(self, *, bytes_max: int = 10, idle_seconds: float = LONG) -> None:
        self.room: Room[str] = Room(bytes_max=bytes_max, idle_seconds=idle_seconds)
        self.loaded: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def use(self, name: str, size: int = 4, stamp: int = 1) -> AbstractAsyncContextManager[str]:
        async def load() -> str:
            self.loaded.append(name)
            await self.gate.wait()
            if name == "broken":
                raise OSError(name)
            return f"{name} {stamp}"

        return self.room.use(name, stamp=stamp, size=size, load=load)

    async def touch(self, *names: str) -> None:
        for name in names:
            async with self.use(name):
                pass


async def _settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_model_is_loaded_once_and_stays() -> None:
    loader = Loader()
    await loader.touch("a", "a", "b", "a")
    assert loader.loaded == ["a", "b"]
    assert loader.room.names == {"a", "b"}


async def test_many_who_want_one_model_at_once_load_it_once() -> None:
    loader = Loader()
    await asyncio.gather(*(loader.touch("a") for _ in range(20)))
    assert loader.loaded == ["a"]


async def test_the_model_whose_last_use_is_longest_ago_makes_room() -> None:
    loader = Loader()
    await loader.touch("a", "b", "a", "c")
    assert loader.room.names == {"a", "c"}


async def test_no_more_models_go_than_have_to() -> None:
    loader = Loader()
    async with loader.use("small", size=1):
        pass
    async with loader.use("large", size=9):
        pass
    assert loader.room.names == {"small", "large"}


async def test_a_model_in_use_stays_and_who_needs_its_room_waits() -> None:
    loader = Loader()
    async with AsyncExitStack() as users:
        await users.enter_async_context(loader.use("a", size=6))
        waiting = asyncio.create_task(loader.touch("b", "c"))
        big = asyncio.create_task(loader.use("d", size=10).__aenter__())
        await waiting
        await _settle()
        assert not big.done()
        assert "a" in loader.room.names
    assert await big == "d 1"
    assert loader.room.names == {"d"}


async def test_a_model_that_is_in_use_is_given_to_others_while_one_waits() -> None:
    loader = Loader()
    async with loader.use("a", size=6):
        big = asyncio.create_task(loader.use("d", size=10).__aenter__())
        await _settle()
        async with loader.use("a", size=6) as model:
            assert model == "a 1"
    assert await big == "d 1"


async def test_what_is_larger_than_the_room_is_refused() -> None:
    loader = Loader()
    with pytest.raises(NeverFits):
        async with loader.use("a", size=11):
            pass
    assert loader.loaded == []


async def test_a_file_that_changed_is_loaded_anew_when_the_old_one_is_not_in_use() -> None:
    loader = Loader()
    async with loader.use("a", stamp=1):
        newer = asyncio.create_task(loader.use("a", stamp=2).__aenter__())
        await _settle()
        assert not newer.done()
    assert await newer == "a 2"


async def test_a_model_that_does_not_load_takes_no_room() -> None:
    loader = Loader()
    with pytest.raises(OSError, match="broken"):
        await loader.touch("broken")
    async with loader.use("a", size=10):
        assert loader.room.names == {"a"}


async def test_who_gives_up_waiting_for_a_load_leaves_it_to_the_next() -> None:
    loader = Loader()
    loader.gate.clear()
    first = asyncio.create_task(loader.touch("a"))
    await _settle()
    second = asyncio.create_task(loader.touch("a"))
    await _settle()
    first.cancel()
    loader.gate.set()
    await second
    assert loader.loaded == ["a", "a"]
    assert loader.room.names == {"a"}


async def _names(loader: Loader) -> AsyncIterator[frozenset[str]]:
    while True:
        yield loader.room.names
        await asyncio.sleep(0.001)


async def test_an_idle_model_goes_and_one_in_use_does_not() -> None:
    loader = Loader(idle_seconds=0.01)
    async with asyncio.timeout(10), loader.use("a"):
        await loader.touch("b")
        async for names in _names(loader):
            if names == {"a"}:
                break
    async with asyncio.timeout(10):
        async for names in _names(loader):
            if not names:
                break
