"""What the tests of Farcaster find."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.farcaster import STRANGER, FakeHub
from tests.fakes.neynar import FakeNeynar
from tests.runtime.connectors.stand import CANARY
from tests.runtime.farcaster.actions import HUB, NEYNAR, Actions, hub


@pytest.fixture
def a_hub() -> FakeHub:
    """Return a hub."""
    return hub()


@pytest.fixture
async def through_hub(a_hub: FakeHub) -> AsyncIterator[Actions]:
    """Yield the actions while a hub listens."""
    async with a_hub.listening():
        yield Actions(a_hub, HUB)


@pytest.fixture
def a_neynar() -> FakeNeynar:
    """Return Neynar, with a cast of a stranger that mentions the own user."""
    neynar = FakeNeynar(key=CANARY)
    neynar.add_cast("Hello @me", STRANGER)
    return neynar


@pytest.fixture
async def through_neynar(a_neynar: FakeNeynar) -> AsyncIterator[Actions]:
    """Yield the actions while Neynar listens."""
    async with a_neynar.listening():
        yield Actions(a_neynar, NEYNAR)
