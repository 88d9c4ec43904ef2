"""Runs a coroutine in virtual time, so that a wait of an hour takes no time and is exact."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.simulation.loop import VirtualTimeLoop

Result = TypeVar("Result")


def now() -> float:
    """Return the seconds since the beginning."""
    return asyncio.get_running_loop().time()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what a coroutine returns."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
