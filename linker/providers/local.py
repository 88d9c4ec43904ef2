"""Models whose weights lie on this machine, run by llama.cpp."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ModelNotFound, ModelUnusable
from ..links import ListedModel
from ..ports import Key, OpenModel
from ..sources import LOCAL_NAME
from .facts import facts_of, is_pooled
from .gguf import BadGguf, read_header
from .residents import PoolingModel, WritingModel
from .room import NeverFits, Room
from .settings import ANYWHERE, WAITING_MAX, EngineSettings, Placement

if TYPE_CHECKING:
    from .engine import Engine
    from .pooling import Pool

SUFFIX = ".gguf"
# What a model may be followed by: the name of an adapter that changes its weights.
PLUS = "+"
IDLE_SECONDS = 900.0
MEMORY_BYTES_MAX = 2**62

# What tells one version of a file from the next without reading it.
_Stamp: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class _Files:
    """The files of a model, an adapter last, and the versions of them that were found."""

    name: str
    paths: tuple[Path, ...]
    stamps: tuple[_Stamp, ...]
    memory_bytes: int


@dataclass(frozen=True)
class _Loaded:
    """A model in memory, one that writes or one that pools."""

    engine: Engine | None = None
    pool: Pool | None = None


class LocalProvider:
    """`<name>.gguf` in a folder; loaded when first used, and gone when nobody needs it.

    `<name>+<adapter>` is the same with the LoRA adapter `<adapter>.gguf`. All models together take
    at most `memory_bytes_max`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int,
        context_tokens_max: int,
        waiting_max: int = WAITING_MAX,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        idle_seconds: float = IDLE_SECONDS,
        placement: Placement = ANYWHERE,
    ) -> None:
        self._folder = folder
        self._settings = EngineSettings(
            threads=threads,
            context_tokens_max=context_tokens_max,
            waiting_max=waiting_max,
            placement=placement,
        )
        self._memory_bytes_max = memory_bytes_max
        self._room: Room[_Loaded] = Room(bytes_max=memory_bytes_max, idle_seconds=idle_seconds)
        self._described: dict[str, tuple[_Stamp, ListedModel]] = {}
        # One load at a time: those who gave up waiting for theirs would fill the memory otherwise.
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")

    async def models(self) -> Sequence[ListedModel]:
        """Return the files of the folder that can be named, with what their headers say."""
        return await asyncio.to_thread(self._list)

    async def open(self, model: str, key: Key | None = None) -> OpenModel:
        """Return a model, loaded; it needs no key. Raises `ModelNotFound` and `ModelUnusable`."""
        files = await asyncio.to_thread(self._find, model)

        @asynccontextmanager
        async def use_engine() -> AsyncIterator[Engine]:
            async with self._use(files) as loaded:
                assert loaded.engine is not None, "files of one version do one thing"
                yield loaded.engine

        @asynccontextmanager
        async def use_pool() -> AsyncIterator[Pool]:
            async with self._use(files) as loaded:
                assert loaded.pool is not None, "files of one version do one thing"
                yield loaded.pool

        async with self._use(files) as loaded:
            if loaded.pool is not None:
                return PoolingModel(files.name, use_pool, loaded.pool)
            assert loaded.engine is not None, "a model writes or pools"
            return WritingModel(files.name, use_engine, loaded.engine)

    async def close(self) -> None:
        """Stop the engines."""
        for loaded in self._room.empty():
            if loaded.engine is not None:
                await loaded.engine.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _find(self, model: str) -> _Files:
        """Return the files of a model as they are now. Raises `ModelNotFound`, `ModelUnusable`."""
        name, plus, adapter = model.partition(PLUS)
        names = (name, adapter) if plus else (name,)
        if not all(map(LOCAL_NAME.fullmatch, names)):
            raise ModelNotFound(f"local/{model}")
        paths = tuple(self._folder / f"{name}{SUFFIX}" for name in names)
        try:
            stamps = tuple(_stamp(path.stat()) for path in paths)
            described = self._describe(paths[0])
        except OSError as error:
            raise ModelNotFound(f"local/{model}") from error
        if described.problem:
            raise ModelUnusable(f"local/{model}", described.problem)
        size = sum(path.stat().st_size for path in paths[1:])
        size += described.facts.memory_bytes or described.size_bytes
        return _Files(f"local/{model}", paths, stamps, memory_bytes=size)

    @asynccontextmanager
    async def _use(self, files: _Files) -> AsyncIterator[_Loaded]:
        """Yield a model that stays in memory until the end. Raises `ModelUnusable`."""

        async def load() -> _Loaded:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._loader, _load, files, self._settings)

        try:
            async with self._room.use(
                files.name, stamp=files.stamps, size=files.memory_bytes, load=load
            ) as loaded:
                yield loaded
        except NeverFits as error:
            problem = f"it needs {files.memory_bytes} bytes of memory, {self._memory_bytes_max} are"
            way_out = "take a smaller quantisation, lower LINKER_CONTEXT_TOKENS, or raise"
            full = f"{problem} for models; {way_out} LINKER_MEMORY_BYTES"
            raise ModelUnusable(files.name, full) from error

    def _list(self) -> list[ListedModel]:
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if LOCAL_NAME.fullmatch(path.stem) and path.is_file():
                # It may be removed at this moment.
                with suppress(FileNotFoundError):
                    found.append(self._describe(path))
        return found

    def _describe(self, path: Path) -> ListedModel:
        """Return what a header says; the vocabulary in it takes a moment, so it is read once."""
        status = path.stat()
        stamp, described = self._described.get(path.stem, ((0, 0, 0), ListedModel(path.stem)))
        if stamp != _stamp(status):
            described = self._read(path, size_bytes=status.st_size)
            self._described[path.stem] = _stamp(status), described
        return replace(described, is_loaded=f"local/{path.stem}" in self._room.names)

    def _read(self, path: Path, *, size_bytes: int) -> ListedModel:
        model = ListedModel(path.stem, size_bytes=size_bytes)
        try:
            header = read_header(path)
        except (BadGguf, OSError) as error:
            return replace(model, problem=f"{error}")
        return replace(model, facts=facts_of(header, self._settings, size_bytes=size_bytes))


def _load(files: _Files, settings: EngineSettings) -> _Loaded:
    # llama.cpp costs a quarter of a second and memory, so only who uses it imports it.
    from .engine import load_engine  # noqa: PLC0415  # as above
    from .pooling import load_pool  # noqa: PLC0415  # the same

    name, (path, *adapters) = files.name.removeprefix("local/"), files.paths
    if is_pooled(read_header(path)) and not adapters:
        return _Loaded(pool=load_pool(name, path, settings))
    return _Loaded(engine=load_engine(name, path, settings, adapter=next(iter(adapters), None)))


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns
