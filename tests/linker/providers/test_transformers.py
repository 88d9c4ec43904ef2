"""Transformers in this process, on a random model: what it writes is valid, and can be stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from chassis.errors import InvalidField
from linker.conversation import (
    Choice,
    Conversation,
    FinishReason,
    Message,
    Prompt,
    Role,
    Sampling,
)
from linker.errors import ContextExceeded, ModelNotFound, ModelUnusable
from linker.providers.transformers import TransformersProvider
from linker.providers.transformers_model import TransformersModel
from linker.schemas import checked_arguments
from linker.settings import ModelSettings, ProviderSettings
from tests.linker.orders import action, finish, prompt
from tests.linker.providers.talking import Talking

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
TorchModel = pytest.importorskip("linker.providers.torch_model").TorchModel

# PyTorch warns about what others do.
pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("default")]

CONTEXT_TOKENS = 2_048
CONTROLS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>\
{% endfor %}<|im_end|>
{% endfor %}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def write_model(folder: Path, *, seed: int = 1) -> Path:
    """Write a LLaMA with random weights, whose tokens are bytes."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(CONTROLS))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=CONTROLS[1], chat_template=TEMPLATE
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=320,  # more than the tokenizer has, as is usual
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("models")
    write_model(made / "tiny")
    return made


def settings_of(folder: Path, **models: ModelSettings) -> ProviderSettings:
    options = {"folder": str(folder)}
    return ProviderSettings("here", "transformers", options=options, models=models)


@pytest_asyncio.fixture
async def provider(folder: Path) -> AsyncIterator[TransformersProvider]:
    found = TransformersProvider(settings_of(folder))
    yield found
    await found.close()


@pytest_asyncio.fixture
async def model(provider: TransformersProvider) -> TransformersModel:
    return await provider.open("tiny")


async def test_a_folder_is_listed_and_opened(provider: TransformersProvider) -> None:
    assert [(one.name, one.is_loaded) for one in await provider.models()] == [("tiny", False)]
    facts = (await provider.open("tiny")).facts
    assert (facts.context_tokens, facts.takes_actions) == (CONTEXT_TOKENS, True)
    assert facts.constrains_output
    assert len(facts.weights_sha256) == 64
    assert [one.is_loaded for one in await provider.models()] == [True]


async def test_the_settings_may_want_a_smaller_context(folder: Path) -> None:
    provider = TransformersProvider(settings_of(folder, tiny=ModelSettings(context_tokens=99)))
    assert (await provider.open("tiny")).facts.context_tokens == 99
    await provider.close()


@pytest.mark.parametrize("name", ["", "nobody", "..", "../models/tiny", "tiny/", "/etc", "tiny/.."])
async def test_a_model_that_is_not_there_is_not_found(
    provider: TransformersProvider, name: str
) -> None:
    with pytest.raises(ModelNotFound):
        await provider.open(name)


class TestTalking(Talking):
    """What models of all providers do."""


async def test_a_generation_reads_as_many_tokens_as_were_counted(model: TransformersModel) -> None:
    finished = await finish(model.generate(prompt(tokens_max=2)))
    assert finished.tokens.input == await model.count_tokens(prompt().conversation)


def test_what_was_read_in_pieces_is_what_was_read_at_once(folder: Path) -> None:
    model = TorchModel(folder / "tiny", device="cpu", dtype="auto")
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder / "tiny")
    tokens = model.tokenize("What moved today?")
    with torch.inference_mode():
        expected = plain(torch.tensor([tokens])).logits[0, -1].numpy()
    cache, _ = model.read(tokens[:7], None)
    cache, _ = model.read(tokens[7:8], cache)
    _, scores = model.read(tokens[8:], cache)
    assert np.allclose(scores, expected, atol=1e-5)
    assert not np.allclose(scores, model.read(tokens[8:], None)[1], atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
async def test_calls_are_valid_whatever_the_model_wants(
    model: TransformersModel, seed: int
) -> None:
    asked = replace(
        prompt(action(), action(name="board.read"), choice=Choice.REQUIRED),
        sampling=Sampling(300, temperature=1.5, seed=seed),
    )
    finished = await finish(model.generate(asked))
    assert finished.reason is FinishReason.ACTION
    for call in finished.calls:
        checked_arguments(call, asked.conversation.actions)


async def test_an_answer_keeps_to_a_schema(model: TransformersModel) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    finished = await finish(model.generate(replace(prompt(tokens_max=200), answer_schema=schema)))
    assert isinstance(json.loads(finished.text)["a"], int)


async def test_closing_stops_the_work_at_the_next_token(model: TransformersModel) -> None:
    asked = prompt(tokens_max=1_500)
    async with aclosing(model.generate(asked)) as events:
        await anext(events)
        await anext(events)
    assert model._turns.waiting == 0
    # There is one thread: it is free at once, or this would come after the 1,500.
    async with asyncio.timeout(5):
        assert (await finish(model.generate(prompt(tokens_max=2)))).tokens.output <= 2


async def test_what_does_not_fit_is_refused(model: TransformersModel) -> None:
    with pytest.raises(ContextExceeded):
        await finish(model.generate(prompt(tokens_max=CONTEXT_TOKENS)))


async def test_no_text_becomes_a_control_token(model: TransformersModel) -> None:
    said = conversation_of("a<|im_end|>b")
    plain = conversation_of("a<|im_en|>b")
    assert await model.count_tokens(said) > await model.count_tokens(plain)


def conversation_of(text: str) -> Conversation:
    return Conversation((Message(Role.USER, text),))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "unheard-of"}'),
        ("model.safetensors", "nothing"),
        ("tokenizer.json", "{}"),
    ],
)
async def test_a_folder_that_does_not_load_is_a_reason(
    tmp_path: Path, file: str, content: str
) -> None:
    write_model(tmp_path / "bad")
    (tmp_path / "bad" / file).write_text(content)
    provider = TransformersProvider(settings_of(tmp_path))
    with pytest.raises(ModelUnusable, match="does not load"):
        await provider.open("bad")
    await provider.close()


async def test_weights_that_are_pickles_are_not_loaded(tmp_path: Path) -> None:
    write_model(tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "bad" / "pytorch_model.bin")
    provider = TransformersProvider(settings_of(tmp_path))
    with pytest.raises(ModelUnusable):
        await provider.open("bad")
    await provider.close()


async def test_a_template_that_refuses_is_a_reason(tmp_path: Path) -> None:
    write_model(tmp_path / "bad")
    template = "{% if messages[0].content == 'no' %}{{ raise_exception('no') }}{% endif %}x"
    (tmp_path / "bad" / "chat_template.jinja").write_text(template)
    provider = TransformersProvider(settings_of(tmp_path))
    model = await provider.open("bad")
    asked = Prompt(conversation_of("no"), Choice.NONE, Sampling(2))
    with pytest.raises(InvalidField):
        await finish(model.generate(asked))
    await provider.close()
