"""The engine serves one after the other, forgets nothing, and stops when nobody listens."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from chassis.canonical import Json
from chassis.errors import InvalidField
from linker.conversation import Choice, Conversation, Delta, Finished, Message, Role
from linker.errors import ContextExceeded, ModelNotFound, ModelUnusable, QueueFull
from linker.links import ModelConfig
from linker.providers.engine import Engine, IsCancelled
from linker.providers.llama import CHUNK_TOKENS
from linker.providers.local import LOADED_MAX, LocalProvider
from linker.providers.writing import Writing
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import action, answer, collect, finish, make_linker, order, prompt

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
    assert await finish(model.generate(asked)) == first


async def test_a_shared_beginning_is_read_once(local: LocalProvider) -> None:
    weights = (await local.open("babbler"))._weights
    tokens = weights.model.tokenize("What moved today? " * 100)
    weights.model.read(tokens, lambda: False)
    first = weights.model.logits()
    chunks: list[int] = []

    def count() -> bool:
        chunks.append(1)
        return False

    weights.model.read(tokens, count)
    assert len(tokens) > CHUNK_TOKENS
    assert len(chunks) == 1
    assert (weights.model.logits() == first).all()


async def test_a_prompt_of_a_megabyte_is_refused_in_time(local: LocalProvider) -> None:
    linker = make_linker(local, FakeGasMeter())
    link = await linker.link(ModelConfig("local/babbler"))
    with pytest.raises(ContextExceeded):
        async with asyncio.timeout(20):
            await answer(linker, order(link.name, prompt(text="a\u200bü" * 175_000)))


async def test_a_cancelled_generation_writes_no_further_token(local: LocalProvider) -> None:
    weights = (await local.open("babbler"))._weights
    writing = Writing(
        weights.model,
        weights.exits,
        weights.grammars.make(ENDLESS),
        tokens=weights.model.tokenize("Hi"),
        prompt=ENDLESS,
    )
    written = [0]
    written.extend(event.tokens.output for event in writing.events(lambda: written[-1] == 3))
    assert written[-1] == 3


async def test_a_cancelled_prompt_is_read_no_further(local: LocalProvider) -> None:
    model = (await local.open("babbler"))._weights.model
    tokens = model.tokenize("What moved today? " * 100)
    looks = iter([False, True])
    assert not model.read(tokens, lambda: next(looks))
    assert model.read(tokens, lambda: False)


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


async def until_queued(provider: LocalProvider) -> None:
    """Wait until a generation stands in the queue behind the one that runs."""
    while not provider._engine._waiting:  # noqa: ASYNC110  # a thread fills it
        await asyncio.sleep(0)


async def test_a_full_queue_refuses(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096, waiting_max=1)
    model = await provider.open("babbler")
    running = model.generate(ENDLESS)
    await anext(running)
    waiting = asyncio.ensure_future(finish(model.generate(prompt())))
    await until_queued(provider)
    with pytest.raises(QueueFull):
        await finish(model.generate(prompt()))
    await running.aclose()
    assert isinstance(await waiting, Finished)
    await provider.close()


async def test_who_no_longer_waits_makes_room(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=4096, waiting_max=1)
    model = await provider.open("babbler")
    running = model.generate(ENDLESS)
    await anext(running)
    for _ in range(3):
        waiting = asyncio.ensure_future(finish(model.generate(prompt())))
        await until_queued(provider)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await running.aclose()
    await provider.close()


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


async def test_memory_holds_the_models_that_were_used_last(
    models_dir: Path, tmp_path: Path
) -> None:
    names = [f"m{number}" for number in range(LOADED_MAX + 1)]
    for name in names:
        shutil.copy(models_dir / "babbler.gguf", tmp_path / f"{name}.gguf")
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    for name in names:
        await provider.open(name)
    assert [model.is_loaded for model in await provider.models()] == [False, *[True] * LOADED_MAX]
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


async def test_an_error_of_the_work_reaches_who_waits() -> None:
    def fail(_: IsCancelled) -> Iterator[int]:
        yield 1
        raise LookupError("broken")

    engine = Engine()
    with pytest.raises(LookupError, match="broken"):
        await collect_numbers(engine, fail)
    assert await collect_numbers(engine, lambda _: iter([1, 2])) == [1, 2]
    await engine.close()


async def test_a_panic_of_the_work_reaches_who_waits_and_spares_the_engine() -> None:
    class PanicError(BaseException):
        """What an extension in Rust raises where it gives up is no `Exception`."""

    def panic(_: IsCancelled) -> Iterator[int]:
        yield 1
        raise PanicError

    engine = Engine()
    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="PanicError"):
            await collect_numbers(engine, panic)
        assert await collect_numbers(engine, lambda _: iter([1, 2])) == [1, 2]
    await engine.close()


async def test_a_model_is_loaded_although_no_generation_may_wait(models_dir: Path) -> None:
    provider = LocalProvider(models_dir, threads=1, context_tokens_max=512, waiting_max=0)
    assert (await provider.open("babbler")).facts.context_tokens == 512
    await provider.close()


async def test_closing_the_engine_ends_work_that_runs_and_work_that_waits() -> None:
    started = threading.Event()

    def forever(is_cancelled: IsCancelled) -> Iterator[int]:
        started.set()
        while not is_cancelled():
            time.sleep(0.001)  # noqa: TID251  # work of another thread takes time
            yield 1

    engine = Engine()
    running = asyncio.ensure_future(collect_numbers(engine, forever))
    waiting = asyncio.ensure_future(collect_numbers(engine, forever))
    await asyncio.to_thread(started.wait, 5)
    await engine.close()
    for work in (running, waiting):
        with pytest.raises(asyncio.CancelledError):
            await work


async def test_closing_the_engine_ends_everything_that_waits() -> None:
    """Whoever learns of the end leaves the queue while the engine still goes through it."""

    def nothing(_: IsCancelled) -> Iterator[int]:
        return iter(())

    switch_seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            started, engine = threading.Event(), Engine(waiting_max=100)

            def until_cancelled(
                is_cancelled: IsCancelled, started: threading.Event = started
            ) -> Iterator[int]:
                started.set()
                while not is_cancelled():
                    yield 1

            first = asyncio.ensure_future(collect_numbers(engine, until_cancelled))
            await asyncio.to_thread(started.wait, 5)
            rest = [asyncio.ensure_future(collect_numbers(engine, nothing)) for _ in range(100)]
            await asyncio.sleep(0)
            await engine.close()
            async with asyncio.timeout(5):
                found = await asyncio.gather(first, *rest, return_exceptions=True)
            assert {type(error) for error in found} == {asyncio.CancelledError}
    finally:
        sys.setswitchinterval(switch_seconds)


async def collect_numbers(
    engine: Engine, steps: Callable[[IsCancelled], Iterator[int]]
) -> list[int]:
    async with aclosing(engine.stream(steps)) as numbers:
        return [number async for number in numbers]


def test_llama_cpp_says_nothing(models_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def use() -> None:
        provider = LocalProvider(models_dir, threads=1, context_tokens_max=512)
        (models_dir.parent / "bad.gguf").write_bytes(os.urandom(64))
        await finish((await provider.open("babbler")).generate(prompt(tokens_max=4)))
        await provider.close()

    asyncio.run(use())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


async def test_a_delta_is_one_step_of_the_model(local: LocalProvider) -> None:
    model = await local.open("babbler")
    *deltas, _ = await collect(model.generate(prompt(tokens_max=8)))
    used = [delta.tokens.output for delta in deltas if isinstance(delta, Delta)]
    assert used == list(range(len(used)))


async def test_a_conversation_that_the_template_refuses_is_named(local: LocalProvider) -> None:
    model = await local.open("babbler")
    refused = Conversation((Message(Role.USER, "x" * (17 * 1024 * 1024)),))
    with pytest.raises(InvalidField, match="messages: do not suit the model"):
        await model.count_tokens(refused)
