"""What a list of models says is what llama.cpp finds in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from linker.links import WeightFacts
from linker.providers.facts import QUANTISATIONS, facts_of
from linker.providers.gguf import Header, read_header
from linker.providers.local import LocalProvider
from linker.providers.settings import EngineSettings

# LLaMA 3 8B as its header tells it.
LLAMA_3_8B: dict[str, str | int | float | bool] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "general.license": "llama3",
    "llama.block_count": 32,
    "llama.context_length": 8192,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}


def header(*lists: str, **more: int | str) -> Header:
    values = LLAMA_3_8B | {f"llama.{key}".replace("__", "."): more[key] for key in more}
    return Header(values, frozenset(lists), parameter_count=8_030_261_248)


def memory(found: Header, context_tokens_max: int = 8192) -> int:
    """Return what weights of no size take."""
    settings = EngineSettings(context_tokens_max=context_tokens_max)
    return facts_of(found, settings, size_bytes=0).memory_bytes


def cells(context_tokens: int) -> int:
    """Return of how many tokens llama.cpp keeps keys and values, which it does in steps."""
    return -(-EngineSettings().cells(context_tokens) // 256) * 256


def test_a_header_is_told_in_the_words_of_its_publisher() -> None:
    assert facts_of(header(), EngineSettings(), size_bytes=4_920_734_272) == WeightFacts(
        architecture="llama",
        parameter_count=8_030_261_248,
        quantisation="Q4_K_M",
        context_tokens=8192,
        memory_bytes=4_920_734_272 + 2 * 32 * 8 * 128 * 2 * cells(8192),
        licence="llama3",
    )


def test_keys_and_values_take_what_the_formula_of_the_document_says() -> None:
    # Two of them, 32 layers, 8 heads of 128 numbers, two bytes a number.
    assert memory(header(), 8192) == 2 * 32 * 8 * 128 * 2 * cells(8192)
    assert memory(header(), 4096) == 2 * 32 * 8 * 128 * 2 * cells(4096)


def test_a_context_is_no_longer_than_it_was_trained_for() -> None:
    assert memory(header(), 131_072) == memory(header(), 8192)


def test_heads_may_have_a_size_of_their_own() -> None:
    own = header(attention__key_length=64, attention__value_length=192)
    assert memory(own) == memory(header())
    assert memory(header(attention__key_length=256, attention__value_length=256)) == 2 * memory(own)


@pytest.mark.parametrize("key", ["head_count", "head_count_kv"])
def test_nothing_is_estimated_where_blocks_differ(key: str) -> None:
    assert memory(header(f"llama.attention.{key}")) == 0


def test_a_header_that_lies_about_its_size_is_not_believed() -> None:
    assert memory(header(block_count=2**24, attention__key_length=2**60)) == 0


@pytest.mark.native
def test_quantisations_are_called_as_llama_cpp_numbers_them() -> None:
    import llama_cpp  # noqa: PLC0415  # slow, and only for this test

    for number, name in QUANTISATIONS.items():
        prefix = "ALL" if name == "F32" else "MOSTLY"
        assert getattr(llama_cpp, f"LLAMA_FTYPE_{prefix}_{name}") == number


def test_the_parameters_of_the_babbler_are_counted(models_dir: Path) -> None:
    path = models_dir / "babbler.gguf"
    found = facts_of(read_header(path), EngineSettings(), size_bytes=0)
    assert (found.architecture, found.quantisation) == ("llama", "F16")
    # Two bytes each, besides the vocabulary and the template.
    assert found.parameter_count == pytest.approx(path.stat().st_size / 2, rel=0.05)


async def test_a_model_that_comes_and_goes_is_seen_without_a_restart(
    models_dir: Path, tmp_path: Path
) -> None:
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    assert await provider.models() == []

    (tmp_path / "new.gguf").write_bytes((models_dir / "babbler.gguf").read_bytes())
    (found,) = await provider.models()
    assert (found.name, found.facts.architecture, found.problem) == ("new", "llama", "")

    (tmp_path / "new.gguf").write_bytes(b"GGUF")
    (found,) = await provider.models()
    assert (found.facts, found.problem) == (WeightFacts(), "it is cut off")


@pytest.mark.native
async def test_a_new_model_is_opened_by_a_provider_that_runs(
    models_dir: Path, tmp_path: Path
) -> None:
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    await provider.models()
    (tmp_path / "new.gguf").write_bytes((models_dir / "babbler.gguf").read_bytes())

    assert (await provider.open("new")).facts.context_tokens == 512
    await provider.close()
