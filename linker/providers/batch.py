"""What llama.cpp computes at once: rows of tokens of several sequences, over one cache.

All of it belongs to one thread at a time.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

import llama_cpp.llama_cpp as library
import numpy as np
from numpy.typing import NDArray

from .costs import TILE
from .llama import LlamaModel, LoadFailed

# The same library, but these calls keep the interpreter's lock. They take microseconds; whoever
# gives the lock away for so short a time waits a thousand times as long to get it back.
_brief = ctypes.PyDLL(library._lib._name)  # noqa: SLF001  # the library does not tell it otherwise
_forget = _brief.llama_memory_seq_rm
_forget.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
_forget.restype = ctypes.c_bool
_share = _brief.llama_memory_seq_cp
_share.argtypes = [ctypes.c_void_p, *[ctypes.c_int32] * 4]
_share.restype = None
_scores = _brief.llama_get_logits
_scores.argtypes = [ctypes.c_void_p]
_scores.restype = ctypes.c_void_p


class DecodeFailed(Exception):
    """llama.cpp could not compute a batch; what its cache holds is not known any more."""


class LlamaContext:
    """The keys and values of up to `cells` tokens, shared by sequences, and the next batch.

    A token that several sequences have in common takes one cell.
    """

    def __init__(
        self, model: LlamaModel, *, cells: int, sequences_max: int, rows_max: int, threads: int
    ) -> None:
        parameters = library.llama_context_default_params()
        # Rows that belong to nobody take cells of their own.
        parameters.n_ctx = cells + TILE
        parameters.n_batch = parameters.n_ubatch = rows_max
        parameters.n_seq_max = sequences_max + 1
        self._nobody = sequences_max
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = parameters.swa_full = parameters.no_perf = True
        self._context = library.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise LoadFailed("llama.cpp cannot make a context for it; is there enough memory?")
        # Finalizers run last in, first out, and the context goes before its model.
        self._model = model
        weakref.finalize(self, library.llama_free, self._context)
        model.adapt(self._context)
        self._memory = library.llama_get_memory(self._context)
        self.cells = min(cells, library.llama_n_ctx(self._context) - TILE)
        self.rows_max = rows_max
        self.vocabulary_size = model.size
        self.rows = self._scored_rows = 0
        self._token = np.zeros(rows_max, np.int32)
        self._position = np.zeros(rows_max, np.int32)
        self._sequence = np.zeros(rows_max, np.int32)
        self._is_scored = np.zeros(rows_max, np.int8)
        self._one = np.ones(rows_max, np.int32)
        # Each row points at its own place in `_sequence`, so that filling that fills the batch.
        places = self._sequence.ctypes.data + 4 * np.arange(rows_max, dtype=np.uintp)
        self._places = places.astype(np.uintp)
        self._fields = (
            ("token", self._token),
            ("pos", self._position),
            ("n_seq_id", self._one),
            ("seq_id", self._places),
            ("logits", self._is_scored),
        )
        self._batch = library.llama_batch()
        self._first_row = -1
        self._point_at(0)
        self._scores = np.zeros((0, 0), np.float32)
        self._known_scores: tuple[int, NDArray[np.float32]] = 0, np.zeros((0, 0), np.float32)

    def clear_batch(self) -> None:
        """Forget the rows of the last batch."""
        self.rows = self._scored_rows = 0

    def add(self, tokens: Sequence[int], *, position: int, sequence: int, scored: int) -> int:
        """Append rows of which the last few get scores; return where those will be."""
        start, end = self.rows, self.rows + len(tokens)
        assert 0 < len(tokens) <= self.rows_max - start, (len(tokens), start)
        if len(tokens) == 1:
            self._token[start], self._position[start] = tokens[0], position
            self._sequence[start], self._is_scored[start] = sequence, scored
        else:
            self._token[start:end] = tokens
            self._position[start:end] = np.arange(position, position + len(tokens))
            self._sequence[start:end] = sequence
            self._is_scored[start : end - scored] = 0
            self._is_scored[end - scored : end] = 1
        self.rows = end
        first, self._scored_rows = self._scored_rows, self._scored_rows + scored
        return first

    def decode(self, sizes: Sequence[int]) -> None:
        """Compute the rows in batches of these sizes; those beyond them belong to nobody.

        Raises `DecodeFailed`.
        """
        assert self.rows > 0, "a batch has rows"
        scored, beyond = self._scored_rows, sum(sizes) - self.rows
        if beyond:
            self.add([0] * beyond, position=0, sequence=self._nobody, scored=0)
        parts, start = [], 0
        for size in sizes:
            self._point_at(start)
            self._batch.n_tokens = size
            status = library.llama_decode(self._context, self._batch)
            if status != 0:
                raise DecodeFailed(f"llama_decode answered {status}")
            # Graphics cards go on alone; waiting for them belongs here, where others can run.
            library.llama_synchronize(self._context)
            if len(sizes) > 1:
                parts.append(self._view(int(self._is_scored[start : start + size].sum())).copy())
            start += size
        if beyond:
            self.forget(self._nobody)
            self.rows -= beyond
        self._scores = np.concatenate(parts) if parts else self._view(scored)

    def scores(self) -> NDArray[np.float32]:
        """Return one row per row with scores; they change with the next batch."""
        return self._scores

    def _point_at(self, row: int) -> None:
        """Let the batch begin with a row; it holds pointers, whatever its stubs say."""
        if row == self._first_row:
            return
        self._first_row = row
        for field, array in self._fields:
            kind = type(getattr(self._batch, field))
            address = array.ctypes.data + row * array.itemsize
            setattr(self._batch, field, ctypes.cast(address, kind))

    def _view(self, count: int) -> NDArray[np.float32]:
        """Return so many rows of scores where llama.cpp has put them."""
        address, known = _scores(self._context), self._known_scores
        if address != known[0] or len(known[1]) < count:
            size = self.vocabulary_size
            content = (ctypes.c_float * (count * size)).from_address(address)
            known = address, np.frombuffer(content, np.float32).reshape(count, size)
            self._known_scores = known
        return known[1][:count]

    def share(self, source: int, target: int, *, end: int) -> None:
        """Let a sequence begin with the first tokens of another; this copies nothing."""
        _share(self._memory, source, target, 0, end)

    def forget(self, sequence: int, *, start: int = 0, end: int = -1) -> None:
        """Give back cells of a sequence, unless others have them too; to its end without one."""
        _forget(self._memory, sequence, start, end)

    def forget_all(self) -> None:
        """Give back every cell."""
        library.llama_memory_clear(self._memory, True)  # noqa: FBT003  # the library names nothing
