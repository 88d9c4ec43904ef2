"""Several models share the memory of a machine, with adapters and without."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from linker.conversation import Choice
from linker.errors import ModelNotFound, ModelUnusable
from linker.links import ModelConfig
from linker.providers.local import LocalProvider
from linker.providers.settings import EngineSettings, Placement
from models.random_weights import PRESETS, write_adapter, write_random
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import action, answer, finish, make_linker, order, prompt

pytestmark = pytest.mark.native

CONTEXT = 1024
NAMES = ("a", "b", "c")
LONG = prompt(action(), choice=Choice.REQUIRED, tokens_max=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three models of one shape, and an adapter for each of them."""
    folder = tmp_path_factory.mktemp("memory")
    for seed, name in enumerate(NAMES):
        write_random(folder / f"{name}.gguf", "llama", seed=seed)
    write_adapter(folder / "polite.gguf", PRESETS["tiny"])
    return folder


@asynccontextmanager
async def opened(folder: Path, **settings: float) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(folder, threads=1, context_tokens_max=CONTEXT, **settings)  # type: ignore[arg-type]  # each by its name
    yield provider
    await provider.close()


async def in_memory(provider: LocalProvider) -> set[str]:
    return {model.name for model in await provider.models() if model.is_loaded}


async def until(provider: LocalProvider, holds: Callable[[set[str]], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds(await in_memory(provider)):  # noqa: ASYNC110  # a timer lets it go
            await asyncio.sleep(0.01)


def size(provider_models: int) -> int:
    """Return what so many of the models take, and a little less than one more does."""
    shape = PRESETS["tiny"]
    cells = -(-EngineSettings().cells(CONTEXT) // 256) * 256
    cache = 2 * shape.blocks * shape.key_width * 2 * cells
    return provider_models * (cache + 450_000) + cache


async def test_models_stay_within_their_memory(folder: Path) -> None:
    async with opened(folder, memory_bytes_max=size(2)) as provider:
        for name in NAMES:
            await finish((await provider.open(name)).generate(prompt(tokens_max=4)))
        assert await in_memory(provider) == {"b", "c"}


async def test_a_model_that_went_comes_back_with_the_next_request(folder: Path) -> None:
    async with opened(folder, memory_bytes_max=size(1)) as provider:
        linker = make_linker(provider, FakeGasMeter())
        link = await linker.link(ModelConfig("local/a"))
        first = await answer(linker, order(link.name, LONG))
        await provider.open("b")
        assert await in_memory(provider) == {"b"}
        second = await answer(linker, order(link.name, LONG, "r2"))
        assert second.calls[0].arguments == first.calls[0].arguments
        await linker.close()


async def test_a_model_that_writes_is_not_unloaded_and_the_other_waits(folder: Path) -> None:
    async with opened(folder, memory_bytes_max=size(1)) as provider:
        model = await provider.open("a")
        async with AsyncExitStack() as reading:
            events = await reading.enter_async_context(aclosing(model.generate(LONG)))
            first = await anext(events)
            other = asyncio.create_task(provider.open("b"))
            await asyncio.sleep(0)
            rest = [event async for event in events]
            assert rest[-1].tokens.output > first.tokens.output + 10
        await other
        assert await in_memory(provider) == {"b"}


async def test_a_model_that_is_too_large_for_the_memory_is_refused(folder: Path) -> None:
    async with opened(folder, memory_bytes_max=500_000) as provider:
        with pytest.raises(ModelUnusable, match="LINKER_MEMORY_BYTES"):
            await provider.open("a")


async def test_an_idle_model_is_unloaded(folder: Path) -> None:
    async with opened(folder, idle_seconds=0.05) as provider:
        await provider.open("a")
        await until(provider, lambda names: not names)


async def test_an_adapter_changes_what_a_model_says(folder: Path) -> None:
    async with opened(folder) as provider:
        plain, polite = await provider.open("a"), await provider.open("a+polite")
        assert plain.facts.weights_sha256 != polite.facts.weights_sha256
        asked = prompt(temperature=0.0, tokens_max=24)
        texts = [(await finish(model.generate(asked))).text for model in (plain, polite, plain)]
        assert texts[0] == texts[2] != texts[1]


async def test_an_adapter_is_listed_as_one_and_is_no_model(folder: Path) -> None:
    async with opened(folder) as provider:
        problems = {model.name: model.problem for model in await provider.models()}
        assert problems["polite"] == "it is an adapter: use it as local/<model>+polite"
        assert problems["a"] == ""
        with pytest.raises(ModelUnusable, match="it is an adapter"):
            await provider.open("polite")
        with pytest.raises(ModelUnusable, match="no adapter"):
            await provider.open("a+b")


async def test_an_adapter_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    write_random(tmp_path / "qwen.gguf", "qwen2")
    shutil.copy(folder / "polite.gguf", tmp_path)
    async with opened(tmp_path) as provider:
        with pytest.raises(ModelUnusable, match="adapter polite is not for this model"):
            await provider.open("qwen+polite")


@pytest.mark.parametrize(
    "name", ["a+", "+polite", "a+polite+polite", "a+../a", "a+none", "none+polite"]
)
async def test_names_that_are_no_files_are_not_found(folder: Path, name: str) -> None:
    async with opened(folder) as provider:
        with pytest.raises(ModelNotFound):
            await provider.open(name)


async def test_a_placement_for_cards_does_no_harm_without_them(folder: Path) -> None:
    placement = Placement(gpu_layers=1, tensor_split=(3.0, 1.0))
    provider = LocalProvider(folder, threads=1, context_tokens_max=CONTEXT, placement=placement)
    assert (await finish((await provider.open("a")).generate(prompt(tokens_max=4)))).tokens.output
    await provider.close()
