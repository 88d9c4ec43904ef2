"""The babbler, written once for all tests of the linker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from linker.providers.local import LocalProvider
from models import babbler
from models.random_weights import write_random

if TYPE_CHECKING:
    from linker.providers.weights import Weights


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


@pytest.fixture(scope="session")
def weights(models_dir: Path) -> Weights:
    """Return the babbler, loaded: what it says depends on the last token alone."""
    return _load(models_dir / "babbler.gguf")


@pytest.fixture(scope="session")
def random_network(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Return a network whose attention is real, and repeats itself as random ones do.

    Its numbers are whole: llama.cpp rounds shorter ones as a batch is large or small.
    """
    path = tmp_path_factory.mktemp("random") / "llama.gguf"
    write_random(path, "llama", form="f32")
    return _load(path)


def _load(path: Path) -> Weights:
    # Tests that need no llama.cpp run without it.
    from linker.providers.weights import load_weights  # noqa: PLC0415

    return load_weights(path.stem, path)
