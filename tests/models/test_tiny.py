"""The tokenizer and the file of actionvm-tiny; torch is needed by the last tests only."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linker.providers.weights import Weights, load_weights
from models import evaluate
from models.tiny.export import mean_of, read_gguf, write_gguf
from models.tiny.generate import make_dialogue
from models.tiny.prompt import CONTROLS, FRAMES, training_text
from models.tiny.tokenizer import Tokenizer, learn_tokenizer, read_tokenizer

WIDTH, FEED_FORWARD = 32, 64
BYTES_MAX = 12_000_000
SHIPPED = Path(evaluate.__file__).parent / "actionvm-tiny.gguf"

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: nothing trains here"
)


def texts(count: int) -> list[str]:
    return [training_text(make_dialogue(str(n)).conversation) for n in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Return a tokenizer with fewer merges than the real one."""
    return learn_tokenizer(texts(40), merge_count=200)


@pytest.fixture(scope="module")
def path(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with weights that nobody trained."""
    dice = np.random.default_rng(0)
    block = dict.fromkeys(("query", "key", "value", "output"), (WIDTH, WIDTH))
    block |= {"gate": (FEED_FORWARD, WIDTH), "up": (FEED_FORWARD, WIDTH)}
    block |= {"down": (WIDTH, FEED_FORWARD)}
    weights = {
        f"blocks.0.{name}.weight": dice.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in block.items()
    }
    vocabulary = (len(tokenizer.tokens), WIDTH)
    weights["embedding.weight"] = dice.normal(0, 0.02, vocabulary).astype(np.float32)
    for norm in ("norm", "blocks.0.attention_norm", "blocks.0.feed_norm"):
        weights[f"{norm}.weight"] = np.ones(WIDTH, dtype=np.float32)
    output = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_gguf(output, weights, tokenizer)
    return output


@pytest.fixture(scope="module")
def loaded(path: Path) -> Weights:
    """Return the file as an agent's linker loads it."""
    return load_weights("tiny", path)


def test_learning_again_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert learn_tokenizer(texts(40), merge_count=200).merges == tokenizer.merges


def test_a_tokenizer_survives_its_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.write(tmp_path / "tokenizer.json")
    assert read_tokenizer(tmp_path / "tokenizer.json").tokens == tokenizer.tokens


def test_no_token_occurs_twice(tokenizer: Tokenizer) -> None:
    assert len(set(tokenizer.tokens)) == len(tokenizer.tokens)


@pytest.mark.parametrize("text", [*CONTROLS, *FRAMES], ids=repr)
def test_controls_and_frames_are_single_tokens(tokenizer: Tokenizer, text: str) -> None:
    assert [tokenizer.tokens[token] for token in tokenizer.encode(text)] == [text]


def test_a_word_has_the_same_tokens_after_a_space_and_after_a_quote(tokenizer: Tokenizer) -> None:
    word = tokenizer.encode("Oslo")
    assert tokenizer.encode(' "Oslo') == [*tokenizer.encode(' "'), *word]
    assert tokenizer.encode(" Oslo") == [*tokenizer.encode(" "), *word]


def test_only_turns_of_the_agent_are_learned(tokenizer: Tokenizer) -> None:
    text = "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Yes.<|end|><|user|>No<|end|>"
    ids = tokenizer.encode(text)
    mask = tokenizer.spoken(ids)
    learned = [token for token, is_spoken in zip(ids, mask, strict=True) if is_spoken]
    assert learned == tokenizer.encode("Yes.<|end|>")


@given(number=st.integers(0, 10**6))
def test_llama_cpp_finds_the_same_tokens(
    tokenizer: Tokenizer, loaded: Weights, number: int
) -> None:
    text = training_text(make_dialogue(str(number)).conversation)
    assert loaded.model.tokenize(text) == tokenizer.encode(text)


def test_the_file_brings_its_template(loaded: Weights) -> None:
    conversation = make_dialogue("1").conversation
    assert loaded.template.takes_actions
    assert loaded.template.render(conversation).startswith(training_text(conversation))


async def test_an_evaluation_measures_every_split(path: Path) -> None:
    table = await evaluate.evaluate(path, count=1, threads=1)
    assert all(f"| {split} |" in table for split in evaluate.SPLITS)


def test_a_file_that_is_read_and_written_again_is_the_same(path: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "again.gguf", *read_gguf(path))
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_a_mean_lies_between_networks_of_one_shape(path: Path) -> None:
    one, _ = read_gguf(path)
    other = {name: array + 2 for name, array in one.items()}
    middle = mean_of([one, other])
    assert all(np.allclose(middle[name], array + 1, atol=1e-6) for name, array in one.items())
    with pytest.raises(ValueError, match="shapes"):
        mean_of([one, other | {"norm.weight": np.zeros(3, np.float32)}])


def test_shipped_weights_are_small() -> None:
    assert SHIPPED.stat().st_size <= BYTES_MAX


@needs_torch
def test_training_starts_with_the_weights_of_a_file(path: Path, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "again.gguf"
    train = ["models.tiny.train", "--start", str(path), "--rate", "0", "--tokens", "500"]
    size = ["--width", str(WIDTH), "--layers", "1", "--dialogues", "2", "--threads", "1"]
    # The mean of equal weights is those.
    export = ["models.tiny.export", "--output", str(again)]
    for step in ([*train, *size], export):
        command = [sys.executable, "-m", *step, "--folder", str(run)]
        subprocess.run(command, check=True, capture_output=True)
    assert again.read_bytes() == path.read_bytes()


@needs_torch
def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.tiny.train", "--folder", str(tmp_path / "run")]
    command += ["--width", "32", "--layers", "1", "--dialogues", "2", "--threads", "1"]
    for tokens in ("500", "1500"):
        subprocess.run([*command, "--tokens", tokens], check=True, capture_output=True)
    steps = [
        int(line.split("\t")[1]) for line in (tmp_path / "run/curve.tsv").read_text().splitlines()
    ]
    assert 0 < steps[0] < steps[-1]


@needs_torch
def test_a_model_is_the_mean_of_what_its_training_ended_with(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  # it may not be there

    run, output = tmp_path / "run", tmp_path / "mean.gguf"
    train = ["models.tiny.train", "--tokens", "9000", "--width", "32", "--layers", "1"]
    size = ["--dialogues", "2", "--threads", "1"]
    for step in ([*train, *size], ["models.tiny.export", "--output", str(output)]):
        command = [sys.executable, "-m", *step, "--folder", str(run)]
        subprocess.run(command, check=True, capture_output=True)
    ends = torch.load(run / "checkpoint.pt", weights_only=True)["ends"]
    norms = [end["norm.weight"].numpy() for end in ends]
    assert len(norms) == 3
    assert not np.array_equal(norms[0], norms[2])
    # Norms are the only weights that are written as they are.
    assert np.allclose(read_gguf(output)[0]["norm.weight"], np.mean(norms, axis=0))
