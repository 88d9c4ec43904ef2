"""llama.cpp in Python's words: the weights of one model and its vocabulary.

Everything here may be called from any thread.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path

import llama_cpp.llama_cpp as library
import llguidance

from .settings import ANYWHERE, Placement

PIECE_BYTES_MAX = 4096

# Flags that llama.cpp takes by position.
_ADD_SPECIAL, _SHOW_SPECIAL = False, True


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
    """Weights in memory, with the vocabulary that they were trained on."""

    def __init__(
        self, path: Path, placement: Placement = ANYWHERE, *, adapter: Path | None = None
    ) -> None:
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = placement.gpu_layers
        parameters.main_gpu = placement.main_gpu
        if placement.tensor_split:
            shares = [*placement.tensor_split, *[0.0] * library.llama_max_devices()]
            parameters.tensor_split = (ctypes.c_float * len(shares))(*shares)
        self.handle = library.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise LoadFailed("llama.cpp cannot load it")
        # An adapter goes with its model.
        weakref.finalize(self, library.llama_model_free, self.handle)
        self._adapter = None
        if adapter is not None:
            self._adapter = library.llama_adapter_lora_init(self.handle, str(adapter).encode())
            if not self._adapter:
                raise LoadFailed(f"the adapter {adapter.stem} is not for this model")
        self.trained_tokens: int = library.llama_model_n_ctx_train(self.handle)
        self.weights_count: int = library.llama_model_n_params(self.handle)
        layers, heads = (
            library.llama_model_n_layer(self.handle),
            library.llama_model_n_head(self.handle),
        )
        # A recurrent layer has none.
        self.heads_count = max(1, layers * heads)
        # A recurrent model cannot forget a part of what it read, or hand it to another sequence.
        self.is_recurrent = bool(
            library.llama_model_is_recurrent(self.handle)
            or library.llama_model_is_hybrid(self.handle)
        )
        self._vocabulary = library.llama_model_get_vocab(self.handle)
        self.size = library.llama_vocab_n_tokens(self._vocabulary)
        self.pieces = tuple(self._piece(token) for token in range(self.size))
        self.controls = frozenset(filter(self._is_control, range(self.size)))
        self.ends = tuple(filter(self._is_end, range(self.size)))
        self.bos = library.llama_vocab_bos(self._vocabulary)
        self.eos = library.llama_vocab_eos(self._vocabulary)
        self._adds_bos = bool(library.llama_vocab_get_add_bos(self._vocabulary))

    def adapt(self, context: library.llama_context_p) -> None:
        """Let a context compute with the adapter, if there is one. Raises `LoadFailed`."""
        if self._adapter is None:
            return
        adapters = (library.llama_adapter_lora_p_ctypes * 1)(self._adapter)
        if library.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)):
            raise LoadFailed("llama.cpp cannot compute with the adapter")

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
        found = self._tokenize(text, parses_special=True)
        if self._adds_bos and found[:1] != [self.bos]:
            found.insert(0, self.bos)
        return found

    def tokenize_plain(self, text: str) -> list[int]:
        """Return the tokens of a text that is not a program: what looks like control is text."""
        return self._tokenize(text, parses_special=False)

    def frame(self, *texts: Sequence[int]) -> list[int]:
        """Return texts between the control tokens that the model was trained on."""
        vocabulary = self._vocabulary
        end = self.eos if self.eos >= 0 else library.llama_vocab_sep(vocabulary)
        ends = [end] if library.llama_vocab_get_add_eos(vocabulary) else []
        separators = ends
        if library.llama_vocab_get_add_sep(vocabulary):
            # BERT ends a text that stands alone as it ends the first of two.
            separators = [*ends, library.llama_vocab_sep(vocabulary)]
            ends = ends or separators[-1:] if len(texts) == 1 else ends
        framed = [self.bos] if self._adds_bos else []
        for number, text in enumerate(texts, start=1):
            framed += text
            framed += ends if number == len(texts) else separators
        return framed

    def rerank_template(self) -> str:
        """Return how a query and a document are shown to the model; empty for one after another."""
        template = library.llama_model_chat_template(self.handle, b"rerank")
        return template.decode("utf-8", "replace") if template else ""

    def _tokenize(self, text: str, *, parses_special: bool) -> list[int]:
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
            parses_special,
        )
        assert count >= 0, "a text has no more tokens than bytes"
        return list(tokens[:count])

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
