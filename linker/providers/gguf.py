"""Reads the header of a GGUF file with suspicion, because llama.cpp trusts it.

A file that lies about sizes, or repeats a token, would abort the whole process inside llama.cpp.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TENSORS_MAX = 65_536
PAIRS_MAX = 65_536
ITEMS_MAX = 16_777_216
TEXT_BYTES_MAX = 4 * 1024 * 1024
DIMENSIONS_MAX = 4
# The shape of a network, and the most that any of its numbers can be.
SHAPE_MAX = 16_777_216
SHAPE_REQUIRED = ("block_count", "embedding_length", "context_length", "attention.head_count")
TOKENS = "tokenizer.ggml.tokens"
# The tightest quantisation takes 1.56 bits for a number.
PARAMETERS_A_BYTE_MAX = 6
# `general.type` of what changes the weights of another file.
ADAPTER = "adapter"
MERGE = "llama-gguf-split --merge FIRST-PART ONE-FILE.gguf"

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# How Mixtral and its kind were stored once; llama.cpp no longer finds them.
_SPLIT_EXPERT = re.compile(rb"blk\.\d+\.ffn_(gate|down|up)\.\d+\.weight")
# llama.cpp ends the process where these, or a list of numbers such as a norm, are not F32.
_ADDED = (b"token_types.weight", b"position_embd.weight")
_F32 = 0

_TEXT = 8
_ARRAY = 9


class BadGguf(ValueError):
    """The file is not a GGUF that can be handed to llama.cpp."""


class CutOff(BadGguf):
    """The file is shorter than it says, or not all here yet."""


class IsAdapter(BadGguf):
    """The file changes the weights of another one; apart from that, it is in order."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: single values by key; a list is there as its length.

    `lists` are the keys that are lists, `parameter_count` is the number of weights.
    """

    values: Mapping[str, str | int | float | bool]
    lists: frozenset[str]
    parameter_count: int

    @property
    def chat_template(self) -> str:
        """Return the template of the model; empty if it has none."""
        template = self.values.get("tokenizer.chat_template", "")
        return template if isinstance(template, str) else ""


def read_header(path: Path, *, size_bytes: int = 0, is_adapter: bool = False) -> Header:
    """Return the header of a file that is whole and plausible. Raises `BadGguf`.

    `size_bytes` is what a file will have that is not all here yet. An adapter has to be asked for.
    """
    with path.open("rb") as file:
        reader = _Reader(file, size_bytes or path.stat().st_size)
        if reader.take(4) != MAGIC:
            raise BadGguf("it is not a GGUF file")
        version = reader.number("I")
        if version not in VERSIONS:
            raise BadGguf(f"GGUF version {version} is not known")
        tensor_count, pair_count = reader.count(TENSORS_MAX), reader.count(PAIRS_MAX)
        pairs = [_read_pair(reader) for _ in range(pair_count)]
        parameter_count = sum(_read_tensor(reader) for _ in range(tensor_count))
    if parameter_count > PARAMETERS_A_BYTE_MAX * reader.size:
        raise CutOff("it is cut off: its tensors are larger than the file")
    values = {key: value for key, value, _ in pairs}
    _check_whole(values)
    found_adapter = values.get("general.type") == ADAPTER
    if found_adapter and not is_adapter:
        raise IsAdapter(f"it is an adapter: use it as local/<model>+{path.stem}")
    if is_adapter and not found_adapter:
        raise BadGguf("it is a model and no adapter")
    if not is_adapter:
        _check_shape(values)
    return Header(values, frozenset(key for key, _, is_list in pairs if is_list), parameter_count)


class _Reader:
    """Reads numbers and texts; every size is checked before it is believed."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self._file = file

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        content = self._file.read(size)
        if len(content) < size:
            raise CutOff("it is cut off")
        return content

    def number(self, kind: str) -> int:
        """Return the next number of a `struct` kind."""
        return int(struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0])

    def scalar(self, kind: str) -> int | float | bool:
        """Return the next value of a `struct` kind as it is."""
        value: int | float | bool = struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]
        return value

    def count(self, most: int) -> int:
        """Return the next length, at most `most`."""
        count = self.number("Q")
        if count > most:
            raise BadGguf(f"a length of {count} is not plausible")
        return count

    def text(self) -> bytes:
        """Return the next text."""
        return self.take(self.count(TEXT_BYTES_MAX))


def _read_pair(reader: _Reader) -> tuple[str, str | int | float | bool, bool]:
    """Return a key, its value, and whether that is the length of a list."""
    key = reader.text().decode("utf-8", "replace")
    kind = reader.number("I")
    if kind == _ARRAY:
        return key, _read_array(reader, key), True
    if kind == _TEXT:
        return key, reader.text().decode("utf-8", "replace"), False
    return key, reader.scalar(_scalar(kind)), False


def _read_array(reader: _Reader, key: str) -> int:
    """Skip an array and return its length."""
    kind, count = reader.number("I"), reader.count(ITEMS_MAX)
    if kind != _TEXT:
        size = struct.calcsize(_scalar(kind)) * count
        if size > reader.size:
            raise CutOff("it is cut off")
        reader.take(size)
        return count
    if count * 8 > reader.size:
        raise CutOff("it is cut off")
    texts = [reader.text() for _ in range(count)]
    if key == TOKENS and len(set(texts)) < count:
        raise BadGguf("two of its tokens are the same")
    return count


def _read_tensor(reader: _Reader) -> int:
    """Return the count of numbers in a tensor, and check where it is said to start.

    llama.cpp itself checks where it ends.
    """
    name = reader.text()
    if _SPLIT_EXPERT.fullmatch(name):
        raise BadGguf("it keeps its experts one by one, as before April 2024; take a newer file")
    dimension_count = reader.number("I")
    if not 1 <= dimension_count <= DIMENSIONS_MAX:
        raise BadGguf(f"a tensor has {dimension_count} dimensions")
    count = math.prod(reader.number("Q") for _ in range(dimension_count))
    kind = reader.number("I")
    if kind != _F32 and (dimension_count == 1 or name in _ADDED):
        raise BadGguf("numbers that are added to others are quantised, which llama.cpp cannot do")
    if reader.number("Q") >= reader.size:
        raise CutOff("it is cut off: a tensor lies beyond its end")
    return count


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise BadGguf(f"values of kind {kind} are not known")
    return _SCALARS[kind]


def _check_shape(values: Mapping[str, str | int | float | bool]) -> None:
    """Refuse numbers that llama.cpp divides by, or multiplies into a size, unseen."""
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise BadGguf("it names no architecture")
    for name in SHAPE_REQUIRED:
        value = values.get(f"{architecture}.{name}")
        # A list, such as one head count per block, is here as its length.
        if not isinstance(value, int) or not 1 <= value <= SHAPE_MAX:
            raise BadGguf(f"its {name} is {value}")
    if not values.get(TOKENS):
        raise BadGguf("it has no tokens")


def _check_whole(values: Mapping[str, str | int | float | bool]) -> None:
    """Refuse a part of a model: its siblings would be loaded unseen, and hashed by nobody."""
    count = values.get("split.count", 0)
    if not isinstance(count, int) or count > 1:
        problem = f"it is one of {count} parts of a model; make one file of them first"
        raise BadGguf(f"{problem}: {MERGE}")
