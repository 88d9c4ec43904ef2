"""What the tests of the web find."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.internet import Site
from tests.runtime.web.webs import Web


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """Yield the actions while their site listens."""
    async with Site().listening() as site:
        yield Web(site)
