"""llama.cpp in Python's words: one model with one context, and nothing about requests.

`read`, `write` and `logits` belong to one thread; `tokenize` may be called from any.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp.llama_cpp as library
import llguidance
import numpy as np
from numpy.typing import NDArray

# A prompt is computed in chunks of this size, so that it can be cancelled between them. A chunk is
# reused by the next prompt only as a whole: the same numbers come out of the same batches only, and
# the same request must give the same answer, whatever was asked before.
CHUNK_TOKENS = 128
PIECE_BYTES_MAX = 4096

# Flags that llama.cpp takes by position.
_ADD_SPECIAL, _PARSE_SPECIAL, _SHOW_SPECIAL, _CLEAR_DATA = False, True, True, True


class LoadFailed(Exception):
    """llama.cpp does not take the file."""


@library.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes
def _ignore_log(_level: int, _text: bytes, _data: object) -> None:
    """Drop what llama.cpp would write to standard error."""


def start_llama() -> None:
    """Prepare the library; calling it again does nothing."""
    # The callback must outlive the library, so it is a name of this module.
    library.llama_log_set(_ignore_log, None)
    library.llama_backend_init()


class LlamaModel:
    """Weights in memory, with the keys and values of the tokens that were read last."""

    def __init__(self, path: Path, *, context_tokens_max: int, threads: int) -> None:
        self._model = library.llama_model_load_from_file(
            str(path).encode(), library.llama_model_default_params()
        )
        if not self._model:
            raise LoadFailed("llama.cpp cannot load it")
        weakref.finalize(self, library.llama_model_free, self._model)
        parameters = library.llama_context_default_params()
        trained_tokens = library.llama_model_n_ctx_train(self._model)
        parameters.n_ctx = min(trained_tokens, context_tokens_max)
        parameters.n_batch = parameters.n_ubatch = CHUNK_TOKENS
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        self._context = library.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise LoadFailed("llama.cpp cannot make a context for it; is there enough memory?")
        # Finalizers run last in, first out: the context goes before its model.
        weakref.finalize(self, library.llama_free, self._context)
        self._batch = library.llama_batch_init(CHUNK_TOKENS, 0, 1)
        weakref.finalize(self, library.llama_batch_free, self._batch)
        self.context_tokens = min(library.llama_n_ctx(self._context), parameters.n_ctx)
        self._memory = library.llama_get_memory(self._context)
        self._vocabulary = library.llama_model_get_vocab(self._model)
        self._size = library.llama_vocab_n_tokens(self._vocabulary)
        self._tokens: list[int] = []
        self._prompt_tokens = 0
        self.pieces = tuple(self._piece(token) for token in range(self._size))
        self.controls = frozenset(filter(self._is_control, range(self._size)))
        self.ends = tuple(filter(self._is_end, range(self._size)))
        self.bos = library.llama_vocab_bos(self._vocabulary)
        self.eos = library.llama_vocab_eos(self._vocabulary)
        self._adds_bos = bool(library.llama_vocab_get_add_bos(self._vocabulary))

    def make_tokenizer(self) -> llguidance.LLTokenizer:
        """Return the vocabulary as grammars need it; for a large one this takes a second.

        Only control tokens are out of a grammar's reach. A `<tool_call>` that is one token, as in
        Qwen, is text to it.
        """
        if not self.ends:
            raise LoadFailed("its vocabulary has no token that ends a turn")
        address = ctypes.cast(library._lib.llama_tokenize, ctypes.c_void_p)  # noqa: SLF001  # no other way
        make = llguidance.LLTokenizer.from_llamacpp  # type: ignore[attr-defined]  # stubs lack it
        tokenizer: llguidance.LLTokenizer = make(
            tokens=[
                b"\xff" + piece if token in self.controls else piece
                for token, piece in enumerate(self.pieces)
            ],
            vocab_ptr=self._vocabulary,
            tokenize_fptr=address.value,
            eos_token=list(self.ends),
            slices=None,
        )
        return tokenizer

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a rendered conversation, control tokens included."""
        content = text.encode("utf-8", "replace")
        size_max = len(content) + 8
        tokens = (library.llama_token * size_max)()
        count = library.llama_tokenize(
            self._vocabulary,
            content,
            len(content),
            tokens,
            size_max,
            _ADD_SPECIAL,
            _PARSE_SPECIAL,
        )
        assert count >= 0, "a text has no more tokens than bytes"
        found = list(tokens[:count])
        if self._adds_bos and found[:1] != [self.bos]:
            found.insert(0, self.bos)
        return found

    def read(self, prompt: Sequence[int], is_cancelled: Callable[[], bool]) -> bool:
        """Compute a prompt, so that `logits` speak of what follows; false if it was cancelled."""
        assert 0 < len(prompt) <= self.context_tokens, len(prompt)
        start = self._reuse(prompt)
        for first in range(start, len(prompt), CHUNK_TOKENS):
            if is_cancelled():
                return False
            self._decode(prompt[first : first + CHUNK_TOKENS])
            self._prompt_tokens = len(self._tokens)
        return True

    def write(self, token: int) -> None:
        """Append one token."""
        self._decode([token])

    def logits(self) -> NDArray[np.float32]:
        """Return a copy of the scores of every token that could follow."""
        scores = library.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(scores, (self._size,)).copy()

    def _reuse(self, prompt: Sequence[int]) -> int:
        """Keep the whole chunks that this prompt shares with the last one, and drop the rest."""
        known = self._tokens[: self._prompt_tokens]
        shared = 0
        while shared < min(len(known), len(prompt) - 1) and known[shared] == prompt[shared]:
            shared += 1
        start = shared // CHUNK_TOKENS * CHUNK_TOKENS
        # Recurrent models cannot forget a part of what they read.
        if not library.llama_memory_seq_rm(self._memory, 0, start, -1):
            library.llama_memory_clear(self._memory, _CLEAR_DATA)
            start = 0
        del self._tokens[start:]
        self._prompt_tokens = start
        return start

    def _decode(self, tokens: Sequence[int]) -> None:
        batch, start = self._batch, len(self._tokens)
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        status = library.llama_decode(self._context, batch)
        if status != 0:
            self._reuse([0])
            raise RuntimeError(f"llama_decode answered {status}")
        self._tokens += tokens

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(PIECE_BYTES_MAX)
        size = library.llama_token_to_piece(
            self._vocabulary, token, buffer, PIECE_BYTES_MAX, 0, _SHOW_SPECIAL
        )
        if size < 0:
            raise LoadFailed(f"token {token} is longer than {PIECE_BYTES_MAX} bytes")
        return buffer.raw[:size]

    def _is_control(self, token: int) -> bool:
        return bool(library.llama_vocab_is_control(self._vocabulary, token))

    def _is_end(self, token: int) -> bool:
        return bool(library.llama_vocab_is_eog(self._vocabulary, token))
