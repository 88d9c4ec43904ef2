"""Vectors are the same everywhere, have length 1, and are close where words are shared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from knowledge.embedding import HashingEmbedder, similarities

ROOT = Path(__file__).resolve().parents[2]
EMBEDDER = HashingEmbedder()


def _cosine(one: str, two: str) -> float:
    return float(EMBEDDER.embed(one) @ EMBEDDER.embed(two))


@given(st.text())
def test_a_vector_has_length_1_or_0(text: str) -> None:
    length = float(np.linalg.norm(EMBEDDER.embed(text)))
    assert length == 0 or abs(length - 1) < 1e-5


@given(st.text())
def test_a_vector_has_256_dimensions_of_4_bytes(text: str) -> None:
    assert len(EMBEDDER.embed(text).tobytes()) == 1_024


@given(st.text())
def test_a_text_without_letters_and_digits_has_a_vector_of_zeros(text: str) -> None:
    punctuation = "".join(one for one in text if not (one.isalnum() or one == "_"))
    vector = EMBEDDER.embed(punctuation.casefold())
    has_words = any(one.isalnum() for one in punctuation.casefold())
    assert has_words or not vector.any()


def test_every_process_makes_the_same_vector() -> None:
    program = (
        "import sys; from knowledge.embedding import HashingEmbedder;"
        "print(HashingEmbedder().embed('Ether rose, ether fell: ß 5').tobytes().hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {EMBEDDER.embed("Ether rose, ether fell: ß 5").tobytes().hex()}


def test_case_and_punctuation_do_not_matter() -> None:
    assert _cosine("Ether, ROSE!", "ether rose") > 0.999


def test_shared_words_bring_texts_together() -> None:
    query = "ether price today"
    assert _cosine(query, "the price of ether") > _cosine(query, "rain over the sea")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.text(max_size=30))
def test_equal_rows_have_equal_similarities(texts: list[str], query: str) -> None:
    vectors = np.stack([EMBEDDER.embed(text) for text in [*texts, *texts]])
    found = similarities(vectors, EMBEDDER.embed(query))
    assert found[: len(texts)].tolist() == found[len(texts) :].tolist()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.text(max_size=30))
def test_a_similarity_is_the_cosine(texts: list[str], query: str) -> None:
    vectors = np.stack([EMBEDDER.embed(text) for text in texts])
    found = similarities(vectors, EMBEDDER.embed(query))
    assert np.allclose(found, vectors @ EMBEDDER.embed(query), atol=1e-5)
