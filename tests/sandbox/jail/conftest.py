"""What this machine has, looked for once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.jail import Survey, survey


@pytest.fixture(scope="session")
def surveyed() -> Survey:
    return survey()


@pytest.fixture(scope="session")
def bare(surveyed: Survey) -> Survey:
    """Return what this machine has beside bubblewrap."""
    return replace(surveyed, bubblewrap="")
