"""The platforms that the suite is run with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keymanager.platform.port import Platform

from .bench import Bench, Identity, SoftBench
from .tpm import TpmBench, why_no_tpm


@pytest.fixture(params=["soft", pytest.param("tpm2", marks=pytest.mark.tpm)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Start a platform."""
    if request.param == "tpm2" and (reason := why_no_tpm()):
        pytest.skip(reason)
    made: Bench = SoftBench(tmp_path) if request.param == "soft" else TpmBench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def platform(bench: Bench) -> Platform:
    """Return the platform as the key manager sees it."""
    return bench.become(Identity())
