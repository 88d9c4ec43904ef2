"""What the tests of CDP find."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.cdp import ME, PERMIT2, USDC, FakeCdp
from tests.runtime.cdp.actions import Actions


@pytest.fixture
async def actions() -> AsyncIterator[Actions]:
    """Yield the actions while CDP listens, with an account that may swap its USDC."""
    cdp = FakeCdp()
    cdp.allow("base", ME, USDC, PERMIT2, 10**9)
    found = Actions(cdp)
    async with found.front.listening():
        yield found
