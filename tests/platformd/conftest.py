"""A checkout whose platformd runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .checkouts import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """Start platformd in a checkout of its own."""
    with Checkout(tmp_path) as made:
        yield made
