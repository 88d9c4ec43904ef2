"""The sandboxes of the tests; each test gets a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.launch import start_worker, surveyed
from sandbox.native import Native, start_native
from sandbox.pool import Pool
from sandbox.ports import Sandbox


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(start_worker, workers=1)
    yield pool
    await pool.close()


@pytest.fixture
def native() -> Native:
    if not surveyed().is_strong:
        pytest.skip("the jail of this machine is not strong enough: actionvm doctor says why")
    return Native(start_native, processes=4)


@pytest.fixture(params=["wasm", "native"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Return each kind of sandbox in turn."""
    found: Sandbox = request.getfixturevalue("pool" if request.param == "wasm" else "native")
    return found
