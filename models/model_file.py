"""Writes GGUF files of small networks: their sizes, their vocabularies, their tensors."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gguf
import numpy as np
from numpy.typing import NDArray

HERE = pathlib.Path(__file__).parent
EPSILON = 1e-5
SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
ENCODER_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
SIGNS = "0123456789.,:;!?'\"()[]{}<>/\\|-_=+*&^%$#@~`"
# How SentencePiece writes the space before a word.
SPACE = "\u2581"
# llama.cpp adds these to numbers that are not quantised, and ends the process if these are.
ADDED = ("token_types.weight", "position_embd.weight")

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The sizes of a network; with experts, two of them answer for each token."""

    vocabulary: int
    width: int
    blocks: int
    heads: int
    key_heads: int
    feed_forward: int
    context: int
    experts: int = 0

    @property
    def key_width(self) -> int:
        """Return how many numbers the keys of one token have."""
        return self.width // self.heads * self.key_heads


FORMATS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


class ModelFile:
    """A GGUF file that is being written."""

    def __init__(self, writer: gguf.GGUFWriter, form: str) -> None:
        self.writer = writer
        self._quantisation, file_type = FORMATS[form]
        writer.add_file_type(file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    def add(self, name: str, numbers: Numbers) -> None:
        """Write a tensor; what is added to others, such as norms, is never quantised."""
        if (
            numbers.ndim == 1
            or name in ADDED
            or self._quantisation is gguf.GGMLQuantizationType.F32
        ):
            self.writer.add_tensor(name, numbers)
        else:
            packed = gguf.quants.quantize(numbers, self._quantisation)
            self.writer.add_tensor(name, packed, raw_dtype=self._quantisation)

    def add_shape(self, shape: Shape) -> None:
        """Write the sizes of a network."""
        self.writer.add_context_length(shape.context)
        self.writer.add_embedding_length(shape.width)
        self.writer.add_block_count(shape.blocks)
        self.writer.add_feed_forward_length(shape.feed_forward)
        self.writer.add_head_count(shape.heads)
        self.writer.add_head_count_kv(shape.key_heads)
        self.writer.add_layer_norm_rms_eps(EPSILON)
        self.writer.add_vocab_size(shape.vocabulary)
        if shape.experts:
            self.writer.add_expert_count(shape.experts)
            self.writer.add_expert_used_count(2)

    def add_vocabulary(self, tokens: list[str]) -> None:
        """Write a SentencePiece vocabulary that can spell any text, and the template of a chat."""
        kinds = [_kind(token) for token in tokens]
        first = len(SPECIALS) + 256
        # Longer tokens are preferred, and among those of one length the earlier.
        scores = [0.0 if at < first else 5.0 * len(t) - at / 100 for at, t in enumerate(tokens)]
        self.writer.add_tokenizer_model("llama")
        self.writer.add_tokenizer_pre("default")
        self.writer.add_token_list(tokens)
        self.writer.add_token_scores(scores)
        self.writer.add_token_types(kinds)
        self.writer.add_unk_token_id(SPECIALS.index("<unk>"))
        self.writer.add_bos_token_id(SPECIALS.index("<s>"))
        self.writer.add_eos_token_id(SPECIALS.index("<|im_end|>"))
        self.writer.add_add_bos_token(value=True)
        self.writer.add_add_eos_token(value=False)
        self.writer.add_add_space_prefix(value=False)
        self.writer.add_chat_template((HERE / "chatml.jinja").read_text(encoding="utf-8"))

    def add_encoder_vocabulary(self, size: int) -> None:
        """Write a WordPiece vocabulary, as BERT has it: words, and pieces that follow others."""
        words = itertools.islice(_pieces(), (size - len(ENCODER_SPECIALS)) // 2)
        plain = [word for word in words if not word.startswith(SPACE)]
        tokens = [*ENCODER_SPECIALS, *(SPACE + word for word in plain), *plain]
        tokens += [f"[unused{number}]" for number in range(size - len(tokens))]
        kinds = [gguf.TokenType.CONTROL] * len(ENCODER_SPECIALS)
        kinds += [gguf.TokenType.NORMAL] * (size - len(kinds))
        self.writer.add_tokenizer_model("bert")
        self.writer.add_token_list(tokens)
        self.writer.add_token_types(kinds)
        self.writer.add_token_type_count(2)
        self.writer.add_pad_token_id(ENCODER_SPECIALS.index("[PAD]"))
        self.writer.add_unk_token_id(ENCODER_SPECIALS.index("[UNK]"))
        self.writer.add_bos_token_id(ENCODER_SPECIALS.index("[CLS]"))
        self.writer.add_eos_token_id(ENCODER_SPECIALS.index("[SEP]"))
        self.writer.add_sep_token_id(ENCODER_SPECIALS.index("[SEP]"))
        self.writer.add_mask_token_id(ENCODER_SPECIALS.index("[MASK]"))


@contextmanager
def open_model(output: pathlib.Path, architecture: str, form: str) -> Iterator[ModelFile]:
    """Yield a file that has its name only when it is whole."""
    unfinished = output.with_name(output.name + ".part")
    writer = gguf.GGUFWriter(unfinished, architecture)
    yield ModelFile(writer, form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(output)


def vocabulary(size: int) -> list[str]:
    """Return control tokens, all bytes, and pieces of words of which every start is one too."""
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    return [*tokens, *itertools.islice(_pieces(), size - len(tokens))]


def _pieces() -> Iterator[str]:
    yield from SPACE + LETTERS + LETTERS.upper() + SIGNS
    yield from (SPACE + letter for letter in LETTERS)
    for length, letters in ((2, LETTERS), (3, LETTERS[:20])):
        for piece in map("".join, itertools.product(letters, repeat=length)):
            yield from (piece, SPACE + piece)
    yield from map("".join, itertools.product(LETTERS[:20], repeat=4))


def _kind(token: str) -> gguf.TokenType:
    if token == "<unk>":  # noqa: S105  # a token of a model
        return gguf.TokenType.UNKNOWN
    if token in SPECIALS:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if token.startswith("<0x") else gguf.TokenType.NORMAL
