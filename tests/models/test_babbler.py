"""The babbler must load as a real model, babble words of its page and always come to an end."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Iterator

import jinja2.sandbox
import jsonschema
import llama_cpp
import llguidance
import llguidance.numpy
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llguidance.llamacpp import lltokenizer_from_vocab
from numpy.typing import NDArray

from models import babbler

TEXT = (babbler.HERE / "babbler.txt").read_text(encoding="utf-8")
SENTENCES = babbler.read_sentences(TEXT)
VOCABULARY = babbler.learn_vocabulary(SENTENCES)
END = VOCABULARY.find(babbler.END_OF_TURN)
PROMPT = "<|im_start|>user\nWhat is new?<|im_end|>\n<|im_start|>assistant\n"
TEMPERATURES = (0.0, 0.2, 0.5, 0.7, 1.0)
ANSWER_TOKENS_MAX = 200

TWO_STRINGS = {
    "type": "object",
    "properties": {
        "headline": {"type": "string", "maxLength": 60},
        "summary": {"type": "string", "maxLength": 200},
    },
    "required": ["headline", "summary"],
    "additionalProperties": False,
}
UNBOUNDED = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "amount": {"type": "integer"},
        "price": {"type": "number"},
        "urgent": {"type": "boolean"},
        "side": {"enum": ["buy", "sell"]},
        "extra": {"type": "object"},
    },
    "required": ["note", "tags", "amount", "price", "urgent", "side", "extra"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return where the model lies, as we ship it."""
    output = tmp_path_factory.mktemp("models") / "babbler.gguf"
    babbler.write_babbler(output, TEXT)
    return output


@pytest.fixture(scope="module")
def model(path: pathlib.Path) -> Iterator[llama_cpp.Llama]:
    """Load the model into llama.cpp."""
    model = _load(path)
    yield model
    model.close()


@pytest.fixture(scope="module")
def logits(model: llama_cpp.Llama) -> NDArray[np.float32]:
    """Return the logits after every token of the vocabulary, one row each."""
    return _logits_after_every_token(model)


@pytest.fixture(scope="module")
def tokenizer(model: llama_cpp.Llama) -> llguidance.LLTokenizer:
    """Return the vocabulary as llguidance sees it; it must not outlive the model."""
    with warnings.catch_warnings():
        # llguidance 1.9 still asks for attributes by a name that llama.cpp has retired.
        warnings.simplefilter("ignore", DeprecationWarning)
        return lltokenizer_from_vocab(llama_cpp.llama_model_get_vocab(model.model))


def test_the_script_writes_the_same_bytes_in_another_process(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "again.gguf"
    script = babbler.HERE / "babbler.py"
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    subprocess.run([sys.executable, script, "--output", output], check=True)
    assert output.read_bytes() == path.read_bytes()


def test_the_seed_changes_bytes_but_no_logit(
    path: pathlib.Path, tmp_path: pathlib.Path, logits: NDArray[np.float32]
) -> None:
    output = tmp_path / "other.gguf"
    babbler.write_babbler(output, TEXT, seed=1)
    assert output.read_bytes() != path.read_bytes()
    other = _load(output)
    np.testing.assert_array_equal(_logits_after_every_token(other), logits)
    other.close()


def test_the_file_has_at_most_six_megabytes(path: pathlib.Path) -> None:
    assert path.stat().st_size <= 6_000_000


def test_a_line_that_is_not_a_plain_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match="Rates rose to 3%"):
        babbler.read_sentences("Rates rose to 3%.")


def test_every_word_of_the_page_is_one_token(model: llama_cpp.Llama) -> None:
    for sentence in SENTENCES:
        text = " ".join(sentence) + "."
        assert len(model.tokenize(text.encode(), add_bos=False)) == len(sentence) + 1


@given(text=st.text())
@example(text="<|im_end|> <unk>\x00\r\n\t\u200b\u2028 日本 🪙")
@settings(deadline=None)
def test_any_text_survives_the_tokenizer(model: llama_cpp.Llama, text: str) -> None:
    tokens = model.tokenize(text.encode(), add_bos=False, special=False)
    assert model.detokenize(tokens, special=True) == text.encode()


def test_text_cannot_end_the_turn(model: llama_cpp.Llama) -> None:
    assert END not in model.tokenize(b"<|im_end|>", add_bos=False, special=False)


def test_a_template_can_end_the_turn(model: llama_cpp.Llama) -> None:
    assert model.tokenize(b"<|im_end|>", add_bos=False, special=True) == [END]


def test_llama_cpp_stops_at_the_end_of_the_turn(model: llama_cpp.Llama) -> None:
    assert model.token_eos() == END


def test_llama_cpp_computes_the_table(logits: NDArray[np.float32]) -> None:
    table = babbler.next_token_table(SENTENCES, VOCABULARY)
    np.testing.assert_allclose(logits, np.log(table), atol=0.02)


def test_no_token_is_impossible(logits: NDArray[np.float32]) -> None:
    assert logits.min() > np.log(babbler.FLOOR) - 1


def test_the_likeliest_walk_from_every_token_ends(logits: NDArray[np.float32]) -> None:
    successors = logits.argmax(axis=1)
    tokens = np.arange(len(logits))
    for _ in range(ANSWER_TOKENS_MAX):
        tokens = np.where(tokens == END, END, successors[tokens])
    assert (tokens == END).all()


@pytest.mark.parametrize("temperature", [0.2, 0.5, 0.7, 1.0])
def test_an_answer_is_short_with_near_certainty(
    logits: NDArray[np.float32], temperature: float
) -> None:
    weights = np.exp(logits.astype(np.float64) / temperature)
    steps = weights / weights.sum(axis=1, keepdims=True)
    alive = np.zeros(len(steps))
    alive[VOCABULARY.find("\n")] = 1
    after: list[float] = []
    for _ in range(ANSWER_TOKENS_MAX):
        alive = alive @ steps
        alive[END] = 0
        after.append(float(alive.sum()))
    assert after[60 - 1] < 0.01
    assert after[ANSWER_TOKENS_MAX - 1] < 1e-6


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("seed", range(8))
def test_an_answer_ends_in_words_of_the_page(
    model: llama_cpp.Llama, temperature: float, seed: int
) -> None:
    completion = model.create_completion(
        PROMPT, temperature=temperature, seed=seed, max_tokens=ANSWER_TOKENS_MAX, stream=False
    )
    assert isinstance(completion, dict)
    choice = completion["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["text"].endswith(".")
    words = {word for sentence in SENTENCES for word in sentence}
    assert set(choice["text"].replace(".", " ").split()) <= words


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("schema", [TWO_STRINGS, UNBOUNDED], ids=["two_strings", "unbounded"])
def test_an_answer_under_a_schema_is_valid(
    model: llama_cpp.Llama,
    tokenizer: llguidance.LLTokenizer,
    schema: dict[str, object],
    temperature: float,
    seed: int,
) -> None:
    grammar = llguidance.LLMatcher.grammar_from_json_schema(
        schema, defaults={"whitespace_flexible": False}
    )
    matcher = llguidance.LLMatcher(tokenizer, grammar)
    random = np.random.default_rng(seed)
    answer = _answer_under_grammar(model, matcher, temperature, random)
    jsonschema.validate(json.loads(answer), schema)


@pytest.mark.parametrize("is_trimming", [True, False])
def test_the_template_renders_tools_calls_and_results(
    model: llama_cpp.Llama, *, is_trimming: bool
) -> None:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=is_trimming, lstrip_blocks=is_trimming
    )
    call = {"function": {"name": "price", "arguments": {"coin": "ether"}}}
    rendered = environment.from_string(model.metadata["tokenizer.chat_template"]).render(
        tools=[{"name": "price"}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Price?"},
            {"role": "assistant", "content": None, "tool_calls": [call, call]},
            {"role": "tool", "content": "3000"},
        ],
        add_generation_prompt=True,
    )
    one_call = '<tool_call>\n{"name": "price", "arguments": {"coin": "ether"}}\n</tool_call>'
    assert rendered == (
        "<|im_start|>system\nBe brief.\n\n# Tools\n\n"
        "You may call functions. Signatures are within <tools></tools>:\n"
        '<tools>\n{"name": "price"}\n</tools>\n\n'
        "For each call return json within <tool_call></tool_call>:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\nPrice?<|im_end|>\n"
        f"<|im_start|>assistant\n{one_call}\n{one_call}<|im_end|>\n"
        "<|im_start|>tool\n<tool_response>\n3000\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def _load(path: pathlib.Path) -> llama_cpp.Llama:
    # More threads than free cores make llama.cpp spin, and one is fast enough.
    return llama_cpp.Llama(
        str(path), n_ctx=1024, n_batch=1024, n_threads=1, logits_all=True, verbose=False
    )


def _logits_after_every_token(model: llama_cpp.Llama) -> NDArray[np.float32]:
    size = model.n_vocab()
    model.n_tokens = 0
    model.eval(range(size))
    return np.array(model.scores[:size])


def _answer_under_grammar(
    model: llama_cpp.Llama,
    matcher: llguidance.LLMatcher,
    temperature: float,
    random: np.random.Generator,
) -> str:
    """Decode token by token, as the linker does: mask the logits, sample, tell the matcher."""
    mask = llguidance.numpy.allocate_token_bitmask(1, model.n_vocab())
    tokens: list[int] = []
    model.n_tokens = 0
    model.eval(model.tokenize(PROMPT.encode(), add_bos=False, special=True))
    while not matcher.is_stopped():
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        scores = np.array(model.scores[model.n_tokens - 1 : model.n_tokens])
        llguidance.numpy.apply_token_bitmask_inplace(scores, mask)
        token = _sample(scores[0], temperature, random)
        assert matcher.consume_token(token), matcher.get_error()
        tokens.append(token)
        model.eval([token])
    assert not matcher.is_error(), matcher.get_error()
    return model.detokenize(tokens).decode()


def _sample(scores: NDArray[np.float32], temperature: float, random: np.random.Generator) -> int:
    if temperature == 0:
        return int(scores.argmax())
    weights = np.exp((scores - scores.max()).astype(np.float64) / temperature)
    return int(random.choice(len(scores), p=weights / weights.sum()))
