"""The babbler, written once for all tests of the linker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from linker.providers.local import LocalProvider
from models import babbler


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one model; tests that write use a folder of their own."""
    folder = tmp_path_factory.mktemp("models")
    text = (babbler.HERE / "babbler.txt").read_text(encoding="utf-8")
    babbler.write_babbler(folder / "babbler.gguf", text)
    return folder


@pytest_asyncio.fixture
async def local(models_dir: Path) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096)
    yield provider
    await provider.close()
