"""What the tests of chains find."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.runtime.evm.chains import Actions, chain


@pytest.fixture
async def actions() -> AsyncIterator[Actions]:
    """Yield the actions while a node listens that mines at once."""
    found = Actions()
    async with found.front.listening():
        yield found


@pytest.fixture
async def slow() -> AsyncIterator[Actions]:
    """Yield the actions while a node listens whose blocks are made by the test."""
    found = Actions(chain(is_instant=False))
    async with found.front.listening():
        yield found
