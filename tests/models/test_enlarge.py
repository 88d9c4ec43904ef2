"""A large model that was made of a small one says the same words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from linker.providers.local import LocalProvider
from models.enlarge import LARGER, Larger, enlarge
from models.evaluate import cases_of, dialogues_of, speak

pytestmark = pytest.mark.native

TINY = Path(__file__).parents[2] / "models" / "actionvm-tiny.gguf"


async def test_an_enlarged_model_says_and_calls_what_the_small_one_does(tmp_path: Path) -> None:
    shutil.copy(TINY, tmp_path / "small.gguf")
    enlarge(TINY, tmp_path / "large.gguf", form="f16", larger=Larger(256, 8, 640))
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=2048)
    small, large = await provider.open("small"), await provider.open("large")
    cases = [case for one in dialogues_of("known actions", 2) for case in cases_of(one)][:4]
    said = [await speak(small, case, constrained=True) for case in cases]
    assert [await speak(large, case, constrained=True) for case in cases] == said
    assert any(one.call for one in said)
    await provider.close()


def test_the_large_model_has_more_than_a_hundred_million_numbers() -> None:
    block = 3 * LARGER.width * LARGER.feed_forward
    assert LARGER.blocks * block > 100_000_000
