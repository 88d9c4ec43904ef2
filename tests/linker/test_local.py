"""Files of a folder become models, and stay what they were."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from chassis.canonical import Json
from chassis.errors import InvalidField
from linker.conversation import Choice, Conversation, Message, Role
from linker.errors import ContextExceeded, ModelNotFound, ModelUnusable
from linker.links import ModelConfig
from linker.providers.local import LocalProvider
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import action, answer, finish, make_linker, order, prompt, said

pytestmark = pytest.mark.native

LONG: Json = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 100_000}},
    "required": ["text"],
}
ENDLESS = prompt(action(LONG), choice=Choice.REQUIRED, tokens_max=3_000)


async def test_a_model_is_loaded_in_less_than_a_second(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096)
    start = time.process_time()
    await provider.open("babbler")
    assert time.process_time() - start < 1
    await provider.close()


async def test_a_model_is_listed_as_loaded_once_it_is(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096)
    before = await provider.models()
    await provider.open("babbler")
    after = await provider.models()
    assert [model.is_loaded for model in (*before, *after)] == [False, True]
    await provider.close()


async def test_a_file_is_found_under_the_name_that_others_gave_it(
    models_dir: Path, tmp_path: Path
) -> None:
    shutil.copy(models_dir / "babbler.gguf", tmp_path / "Qwen2.5-0.5B-Q4_K_M.gguf")
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    assert [model.name for model in await provider.models()] == ["Qwen2.5-0.5B-Q4_K_M"]
    assert (await provider.open("Qwen2.5-0.5B-Q4_K_M")).facts.context_tokens == 512
    await provider.close()


async def test_the_setting_limits_the_context(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=512)
    assert (await provider.open("babbler")).facts.context_tokens == 512
    await provider.close()


async def test_the_same_request_gives_the_same_answer_after_a_restart(models_dir: Path) -> None:
    asked = prompt(action(), choice=Choice.AUTO, seed=11, temperature=1.5)
    answers = []
    for _ in range(2):
        provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096)
        answers.append(await finish((await provider.open("babbler")).generate(asked)))
        await provider.close()
    assert answers[0] == answers[1]


async def test_what_was_asked_before_changes_no_answer(local: LocalProvider) -> None:
    model = await local.open("babbler")
    text = "What moved today? " * 40
    asked = prompt(text=text, seed=3, temperature=1.5)
    first = await finish(model.generate(asked))
    await finish(model.generate(prompt(text=text + "Tell me more.")))
    await finish(model.generate(prompt(text="Another thing.")))
    assert said(await finish(model.generate(asked))) == said(first)


async def test_a_prompt_of_a_megabyte_is_refused_in_time(local: LocalProvider) -> None:
    linker = make_linker(local, FakeGasMeter())
    link = await linker.link(ModelConfig("local/babbler"))
    with pytest.raises(ContextExceeded):
        async with asyncio.timeout(20):
            await answer(linker, order(link.name, prompt(text="a\u200bü" * 175_000)))


async def test_cancelling_charges_for_what_was_written(local: LocalProvider) -> None:
    gas = FakeGasMeter()
    linker = make_linker(local, gas)
    link = await linker.link(ModelConfig("local/babbler"))
    is_writing = asyncio.Event()

    async def read() -> None:
        async for event in linker.generate(order(link.name, ENDLESS)):
            if event.tokens.output > 5:
                is_writing.set()

    task = asyncio.ensure_future(read())
    await is_writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await linker.close()
    used = gas.settled["holds/r1"]
    assert used.input > 0
    assert 5 < used.output < ENDLESS.sampling.tokens_max


async def test_weights_that_changed_are_not_those_that_were_linked(
    models_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "babbler.gguf"
    shutil.copy(models_dir / "babbler.gguf", path)
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    linker = make_linker(provider, FakeGasMeter())
    config = ModelConfig("local/babbler")
    link = await linker.link(config)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.with_suffix(".part").write_bytes(content)
    path.with_suffix(".part").replace(path)
    with pytest.raises(ModelUnusable, match="have changed since"):
        await answer(linker, order(link.name, prompt(tokens_max=8)))
    assert linker.failing(link) == [True]
    linked_again = await linker.link(config)
    assert linked_again.name == link.name
    assert (await answer(linker, order(link.name, prompt(tokens_max=8)))).tokens.output > 0
    await provider.close()


async def test_weights_that_are_gone_make_a_link_unusable(models_dir: Path, tmp_path: Path) -> None:
    shutil.copy(models_dir / "babbler.gguf", tmp_path)
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    linker = make_linker(provider, FakeGasMeter())
    link = await linker.link(ModelConfig("local/babbler"))
    (tmp_path / "babbler.gguf").unlink()
    with pytest.raises(ModelUnusable, match="there is no model local/babbler"):
        await answer(linker, order(link.name, prompt(tokens_max=8)))
    await provider.close()


async def test_only_files_with_plain_names_are_models(tmp_path: Path) -> None:
    for name in ("good.gguf", ".hidden.gguf", "Bad Name.gguf", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.gguf").mkdir()
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    assert [model.name for model in await provider.models()] == ["good"]
    with pytest.raises(ModelNotFound):
        await provider.open("Bad Name")


async def test_a_folder_that_is_missing_has_no_models(tmp_path: Path) -> None:
    provider = LocalProvider(tmp_path / "none", threads=1, context_tokens_max=512)
    assert await provider.models() == []


def test_llama_cpp_says_nothing(models_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def use() -> None:
        provider = LocalProvider(models_dir, threads=1, context_tokens_max=512)
        (models_dir.parent / "bad.gguf").write_bytes(os.urandom(64))
        await finish((await provider.open("babbler")).generate(prompt(tokens_max=4)))
        await provider.close()

    asyncio.run(use())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


async def test_a_conversation_that_the_template_refuses_is_named(local: LocalProvider) -> None:
    model = await local.open("babbler")
    refused = Conversation((Message(Role.USER, "x" * (17 * 1024 * 1024)),))
    with pytest.raises(InvalidField, match="messages: do not suit the model"):
        await model.count_tokens(refused)
