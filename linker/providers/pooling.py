"""Models that read and do not write: a vector for each text, or a score for each pair of texts."""

from __future__ import annotations

import asyncio
import ctypes
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp.llama_cpp as library
import numpy as np
from numpy.typing import NDArray

from ..conversation import Tokens
from ..embedding import Embedded, Ranked
from ..errors import ContextExceeded, ModelUnusable, QueueFull
from .gguf import BadGguf, read_header
from .llama import LlamaModel, LoadFailed, start_llama
from .settings import EngineSettings
from .weights import hash_of

# How many texts go through the model at once, if they are short.
TEXTS_MAX = 32

Numbers = NDArray[np.float32]


class Pool:
    """A loaded model with a context that keeps nothing between requests."""

    def __init__(self, model: LlamaModel, settings: EngineSettings, *, sha256: str) -> None:
        """Take memory for the context. Raises `LoadFailed` if there is none."""
        self.sha256 = sha256
        self.context_tokens = min(model.trained_tokens, settings.context_tokens_max)
        parameters = library.llama_context_default_params()
        # A model that looks ahead has to see a whole text at once.
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.context_tokens
        parameters.n_seq_max = TEXTS_MAX
        parameters.n_threads = parameters.n_threads_batch = settings.threads
        parameters.embeddings = parameters.kv_unified = parameters.no_perf = True
        self._context = library.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise LoadFailed("llama.cpp cannot make a context for it; is there enough memory?")
        # Finalizers run last in, first out, and the context goes before its model.
        self._model = model
        weakref.finalize(self, library.llama_free, self._context)
        self.ranks = library.llama_pooling_type(self._context) == library.LLAMA_POOLING_TYPE_RANK
        self.dimensions = 0 if self.ranks else library.llama_model_n_embd_out(model.handle)
        self._batch = library.llama_batch_init(self.context_tokens, 0, 1)
        weakref.finalize(self, library.llama_batch_free, self._batch)
        self._waiting_max = settings.waiting_max
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return a unit vector for each text. Raises `ContextExceeded` and `QueueFull`."""
        assert self.dimensions, "a model that ranks makes no vectors"
        rows, count = await self._read([self._one(text) for text in texts])
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(lengths > 0, lengths, 1)
        return Embedded(tuple(tuple(map(float, row)) for row in unit), Tokens(embedding=count))

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Return a score for each document. Raises `ContextExceeded` and `QueueFull`."""
        assert self.ranks, "a model that makes vectors does not rank"
        rows, count = await self._read([self._pair(query, one) for one in documents])
        return Ranked(tuple(float(row[0]) for row in rows), Tokens(embedding=count))

    def _one(self, text: str) -> list[int]:
        # Nothing is read as the end of a text.
        return self._model.frame(self._model.tokenize_plain(text)) or [max(0, self._model.eos)]

    def _pair(self, query: str, document: str) -> list[int]:
        model = self._model
        template = model.rerank_template()
        if not template:
            return model.frame(model.tokenize_plain(query), model.tokenize_plain(document))
        # What is between the places is the model's own; what fills them is not.
        tokens: list[int] = []
        for part in _split(template, {"{query}": query, "{document}": document}):
            is_own = part.is_template
            tokens += model.tokenize(part.text) if is_own else model.tokenize_plain(part.text)
        return tokens

    async def _read(self, texts: Sequence[list[int]]) -> tuple[Numbers, int]:
        """Return what the model makes of each text, and how many tokens it has read."""
        for text in texts:
            if len(text) > self.context_tokens:
                raise ContextExceeded(len(text), 0, self.context_tokens)
        if self._waiting >= self._waiting_max:
            raise QueueFull(self._waiting)
        rows: list[Numbers] = []
        for batch in _batches(texts, self.context_tokens):
            self._waiting += 1
            try:
                # One batch at a time, so that others, and whoever cancels, come in between.
                async with self._turn:
                    work = asyncio.get_running_loop().run_in_executor(None, self._compute, batch)
                    # The context is in use until the thread is done, wanted or not.
                    rows += await _finish(work)
            finally:
                self._waiting -= 1
        return np.stack(rows), sum(map(len, texts))

    def _compute(self, texts: Sequence[Sequence[int]]) -> list[Numbers]:
        batch = self._batch
        row = 0
        for sequence, text in enumerate(texts):
            for position, token in enumerate(text):
                batch.token[row], batch.pos[row] = token, position
                batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
                batch.logits[row] = True
                row += 1
        batch.n_tokens = row
        memory = library.llama_get_memory(self._context)
        if memory:
            library.llama_memory_clear(memory, False)  # noqa: FBT003  # the library names nothing
        status = library.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode answered {status}")
        size = self.dimensions or 1
        return [self._result(sequence, size) for sequence in range(len(texts))]

    def _result(self, sequence: int, size: int) -> Numbers:
        numbers = library.llama_get_embeddings_seq(self._context, sequence)
        address = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(address, (size,)).copy()


async def _finish(work: asyncio.Future[list[Numbers]]) -> list[Numbers]:
    """Wait for a thread to end even if nobody wants its result any more."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _batches(texts: Sequence[list[int]], tokens_max: int) -> Iterator[list[list[int]]]:
    """Put texts together while they fit, in their order."""
    batch: list[list[int]] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == TEXTS_MAX or size + len(text) > tokens_max):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Part:
    text: str
    is_template: bool


def _split(template: str, filling: dict[str, str]) -> Iterator[_Part]:
    """Yield a template and what fills its places, apart."""
    places = sorted((template.find(place), place) for place in filling if place in template)
    end = 0
    for start, place in places:
        yield _Part(template[end:start], is_template=True)
        yield _Part(filling[place], is_template=False)
        end = start + len(place)
    yield _Part(template[end:], is_template=True)


def load_pool(name: str, path: Path, settings: EngineSettings) -> Pool:
    """Load a file that says how it pools, which takes a while. Raises `ModelUnusable`."""
    try:
        read_header(path)
        start_llama()
        model = LlamaModel(path, settings.placement)
        return Pool(model, settings, sha256=hash_of(path))
    except (BadGguf, LoadFailed, OSError) as error:
        raise ModelUnusable(f"local/{name}", f"{error}") from error
