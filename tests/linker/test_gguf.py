"""A file that lies is refused by name, and never reaches llama.cpp."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from linker.errors import ModelUnusable
from linker.providers.gguf import BadGguf, read_header
from linker.providers.local import LocalProvider

HEADER_BYTES = 24
TEXT, ARRAY, UINT32, UINT64 = 8, 9, 4, 10


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def pair(key: bytes, kind: int, content: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + content


def number(key: bytes, value: int) -> bytes:
    return pair(key, UINT32, struct.pack("<I", value))


def tokens(*names: bytes) -> bytes:
    content = struct.pack("<IQ", TEXT, len(names)) + b"".join(map(text, names))
    return pair(b"tokenizer.ggml.tokens", ARRAY, content)


GOOD = (
    pair(b"general.architecture", TEXT, text(b"llama")),
    number(b"llama.block_count", 1),
    number(b"llama.embedding_length", 64),
    number(b"llama.context_length", 64),
    number(b"llama.attention.head_count", 1),
    tokens(b"a", b"b"),
)


def file_of(*pairs: bytes, tensors: tuple[bytes, ...] = (), version: int = 3) -> bytes:
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(pairs))
    return head + b"".join(pairs) + b"".join(tensors) + bytes(64)


def tensor(
    dimensions: int = 1, offset: int = 0, *, name: bytes = b"t", size: int = 1, kind: int = 0
) -> bytes:
    return text(name) + struct.pack(
        f"<I{dimensions}QIQ", dimensions, *[size] * dimensions, kind, offset
    )


HOSTILE = {
    "empty": b"",
    "another format": b"PK\x03\x04" + bytes(100),
    "version": file_of(*GOOD, version=99),
    "big-endian version": struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
    "tensor count": struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 0),
    "pair count": struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**63),
    "key length": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 2**62),
    "text length": file_of(pair(b"x", TEXT, struct.pack("<Q", 2**40))),
    "array length": file_of(pair(b"x", ARRAY, struct.pack("<IQ", UINT64, 2**61))),
    "array beyond the end": file_of(pair(b"x", ARRAY, struct.pack("<IQ", UINT64, 2**20))),
    "texts beyond the end": file_of(pair(b"x", ARRAY, struct.pack("<IQ", TEXT, 2**20))),
    "array of arrays": file_of(pair(b"x", ARRAY, struct.pack("<IQ", ARRAY, 1))),
    "kind": file_of(pair(b"x", 77, b"")),
    "tensor dimensions": file_of(*GOOD, tensors=(tensor(9),)),
    "tensor offset": file_of(*GOOD, tensors=(tensor(offset=2**60),)),
    "tensor size": file_of(*GOOD, tensors=(tensor(4, size=2**60),)),
    "experts one by one": file_of(*GOOD, tensors=(tensor(name=b"blk.0.ffn_gate.7.weight"),)),
    "a quantised norm": file_of(*GOOD, tensors=(tensor(kind=1),)),
    "quantised token types": file_of(
        *GOOD, tensors=(tensor(2, name=b"token_types.weight", kind=1),)
    ),
    "part of a model": file_of(*GOOD, number(b"split.count", 3)),
    "no architecture": file_of(*GOOD[1:]),
    "no tokens": file_of(*GOOD[:-1]),
    "same tokens": file_of(*GOOD[:-1], tokens(b"a", b"a")),
    "no blocks": file_of(GOOD[0], *GOOD[2:]),
    "zero heads": file_of(*GOOD[:4], number(b"llama.attention.head_count", 0), GOOD[5]),
    "huge context": file_of(*GOOD, number(b"llama.context_length", 2**31)),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(BadGguf):
        read_header(path)


@pytest.mark.native
@pytest.mark.parametrize("name", sorted(HOSTILE))
async def test_a_hostile_file_makes_a_model_unusable(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.gguf").write_bytes(HOSTILE[name])
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    with pytest.raises(ModelUnusable, match=r"local/model cannot be used: \S"):
        await provider.open("model")
    await provider.close()


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("experts one by one", "take a newer file"), ("part of a model", "llama-gguf-split --merge")],
)
def test_a_file_that_llama_cpp_would_refuse_in_riddles_comes_with_a_way_out(
    tmp_path: Path, name: str, way_out: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(BadGguf, match=way_out):
        read_header(path)


def test_the_smallest_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(file_of(*GOOD, tensors=(tensor(),)))
    assert read_header(path).values["general.architecture"] == "llama"


@pytest.mark.native
async def test_a_good_header_without_weights_makes_a_model_unusable(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(file_of(*GOOD, tensors=(tensor(),)))
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    with pytest.raises(ModelUnusable):
        await provider.open("model")
    await provider.close()


def test_the_header_of_the_babbler_holds_its_template(models_dir: Path) -> None:
    header = read_header(models_dir / "babbler.gguf")
    assert "<tool_call>" in header.chat_template


@pytest.mark.native
async def test_a_model_that_is_cut_off_anywhere_is_unusable(
    models_dir: Path, tmp_path: Path
) -> None:
    whole = (models_dir / "babbler.gguf").read_bytes()
    dice = random.Random(1)
    sizes = [HEADER_BYTES, len(whole) // 2, len(whole) - 1_000]
    sizes += [dice.randrange(len(whole)) for _ in range(20)]
    provider = LocalProvider(tmp_path, threads=1, context_tokens_max=512)
    for number, size in enumerate(sizes):
        (tmp_path / f"cut-{number}.gguf").write_bytes(whole[:size])
        with pytest.raises(ModelUnusable):
            await provider.open(f"cut-{number}")
    await provider.close()


def test_a_file_with_flipped_bytes_in_its_header_never_breaks_the_reader(
    models_dir: Path, tmp_path: Path
) -> None:
    whole = (models_dir / "babbler.gguf").read_bytes()[:60_000]
    dice = random.Random(2)
    path = tmp_path / "model.gguf"
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(3):
            content[dice.randrange(2_000)] = dice.randrange(256)
        path.write_bytes(content)
        try:
            read_header(path)
        except BadGguf:
            continue
