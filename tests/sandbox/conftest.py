"""One sandbox for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.launch import start_worker
from sandbox.pool import Pool


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(start_worker, workers=1)
    yield pool
    await pool.close()
