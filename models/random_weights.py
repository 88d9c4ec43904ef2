"""Writes models of random numbers: each architecture as llama.cpp knows it, small enough for tests.

Such a model says nothing, but it computes all that a trained one of its shape computes. Whatever
holds for its output under every seed holds for any model. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import gguf
import numpy as np

from .model_file import EPSILON, FORMATS, ModelFile, Numbers, Shape, open_model, vocabulary

DEVIATION = 0.02
# Of the scores of tokens: so that some are likelier than others, and none is certain.
SCORE_DEVIATION = 1.4
# Of Gemma 2.
ATTENTION_CAP, OUTPUT_CAP = 50.0, 30.0
# Short enough that a test can leave it.
WINDOW = 64

Tensors = Iterator[tuple[str, tuple[int, ...]]]


PRESETS = {
    "tiny": Shape(1_024, 64, 2, 4, 2, 128, 4_096),
    "small": Shape(8_192, 384, 6, 6, 2, 1_024, 8_192),
    # 125 million numbers: so many that computing them, not Python, takes the time.
    "bench": Shape(32_000, 768, 12, 12, 4, 2_048, 32_768),
}


def write_random(
    output: pathlib.Path,
    architecture: str,
    *,
    shape: Shape = PRESETS["tiny"],
    form: str = "f16",
    seed: int = 0,
) -> None:
    """Write one of `ARCHITECTURES`."""
    name, add_keys, tensors = ARCHITECTURES[architecture]
    shape = replace(shape, experts=4 if architecture == "mixtral" else 0)
    dice = np.random.default_rng(seed)
    with open_model(output, name, form) as file:
        file.add_shape(shape)
        add_keys(file, shape)
        for tensor, size in tensors(shape):
            file.add(tensor, _random(dice, tensor, size))


def write_adapter(output: pathlib.Path, shape: Shape, *, rank: int = 4, seed: int = 0) -> None:
    """Write a LoRA adapter for a LLaMA, strong enough to be seen."""
    dice = np.random.default_rng(seed)
    with open_model(output, "llama", "f32") as file:
        file.writer.add_type(gguf.GGUFType.ADAPTER)
        file.writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        file.writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
        for block in _blocks(shape):
            name = f"{block}.attn_output.weight"
            file.add(f"{name}.lora_a", dice.standard_normal((rank, shape.width), dtype=np.float32))
            file.add(f"{name}.lora_b", dice.standard_normal((shape.width, rank), dtype=np.float32))


def _random(dice: np.random.Generator, name: str, size: tuple[int, ...]) -> Numbers:
    if "norm" in name:
        return (np.zeros if name.endswith("bias") else np.ones)(size, np.float32)
    deviation = SCORE_DEVIATION / size[-1] ** 0.5 if name == "output.weight" else DEVIATION
    return dice.standard_normal(size, dtype=np.float32) * np.float32(deviation)


def _decoder(file: ModelFile, shape: Shape) -> None:
    file.add_vocabulary(vocabulary(shape.vocabulary))


def _gemma2(file: ModelFile, shape: Shape) -> None:
    _decoder(file, shape)
    file.writer.add_attn_logit_softcapping(ATTENTION_CAP)
    file.writer.add_final_logit_softcapping(OUTPUT_CAP)
    file.writer.add_sliding_window(WINDOW)


def _gemma3(file: ModelFile, shape: Shape) -> None:
    _decoder(file, shape)
    file.writer.add_sliding_window(WINDOW)


def _encoder(file: ModelFile, shape: Shape) -> None:
    file.add_encoder_vocabulary(shape.vocabulary)
    file.writer.add_layer_norm_eps(EPSILON)
    file.writer.add_causal_attention(value=False)
    file.writer.add_pooling_type(gguf.PoolingType.MEAN)


def _reranker(file: ModelFile, shape: Shape) -> None:
    file.add_encoder_vocabulary(shape.vocabulary)
    file.writer.add_layer_norm_eps(EPSILON)
    file.writer.add_causal_attention(value=False)
    file.writer.add_pooling_type(gguf.PoolingType.RANK)


def _llama_tensors(shape: Shape) -> Tensors:
    yield from _around(shape)
    for block in _blocks(shape):
        yield from _attention(block, shape)
        yield from _feed_forward(block, shape)


def _mixtral_tensors(shape: Shape) -> Tensors:
    yield from _around(shape)
    experts, inner, outer = shape.experts, shape.feed_forward, shape.width
    for block in _blocks(shape):
        yield from _attention(block, shape)
        yield f"{block}.ffn_norm.weight", (outer,)
        yield f"{block}.ffn_gate_inp.weight", (experts, outer)
        yield f"{block}.ffn_gate_exps.weight", (experts, inner, outer)
        yield f"{block}.ffn_up_exps.weight", (experts, inner, outer)
        yield f"{block}.ffn_down_exps.weight", (experts, outer, inner)


def _qwen2_tensors(shape: Shape) -> Tensors:
    yield from _llama_tensors(shape)
    for block in _blocks(shape):
        yield f"{block}.attn_q.bias", (shape.width,)
        yield f"{block}.attn_k.bias", (shape.key_width,)
        yield f"{block}.attn_v.bias", (shape.key_width,)


def _qwen3_tensors(shape: Shape) -> Tensors:
    yield from _llama_tensors(shape)
    for block in _blocks(shape):
        yield from _head_norms(block, shape)


def _gemma2_tensors(shape: Shape) -> Tensors:
    # The output is the embedding once more.
    yield from itertools.islice(_around(shape), 2)
    for block in _blocks(shape):
        yield from _attention(block, shape)
        yield f"{block}.post_attention_norm.weight", (shape.width,)
        yield from _feed_forward(block, shape)
        yield f"{block}.post_ffw_norm.weight", (shape.width,)


def _gemma3_tensors(shape: Shape) -> Tensors:
    yield from _gemma2_tensors(shape)
    for block in _blocks(shape):
        yield from _head_norms(block, shape)


def _phi3_tensors(shape: Shape) -> Tensors:
    """Yield queries, keys and values in one, and the same for the two halves of what follows."""
    yield from _around(shape)
    for block in _blocks(shape):
        yield f"{block}.attn_norm.weight", (shape.width,)
        yield f"{block}.attn_qkv.weight", (shape.width + 2 * shape.key_width, shape.width)
        yield f"{block}.attn_output.weight", (shape.width, shape.width)
        yield f"{block}.ffn_norm.weight", (shape.width,)
        yield f"{block}.ffn_up.weight", (2 * shape.feed_forward, shape.width)
        yield f"{block}.ffn_down.weight", (shape.width, shape.feed_forward)


def _encoder_tensors(shape: Shape) -> Tensors:
    width, inner = shape.width, shape.feed_forward
    yield "token_embd.weight", (shape.vocabulary, width)
    yield "position_embd.weight", (shape.context, width)
    yield "token_types.weight", (2, width)
    yield "token_embd_norm.weight", (width,)
    yield "token_embd_norm.bias", (width,)
    for block in _blocks(shape):
        for name, rows in (("q", width), ("k", shape.key_width), ("v", shape.key_width)):
            yield f"{block}.attn_{name}.weight", (rows, width)
            yield f"{block}.attn_{name}.bias", (rows,)
        for name, size in (
            ("attn_output", (width, width)),
            ("attn_output_norm", (width,)),
            ("ffn_up", (inner, width)),
            ("ffn_down", (width, inner)),
            ("layer_output_norm", (width,)),
        ):
            yield f"{block}.{name}.weight", size
            yield f"{block}.{name}.bias", size[:1]


def _reranker_tensors(shape: Shape) -> Tensors:
    yield from _encoder_tensors(shape)
    yield "cls.weight", (shape.width, shape.width)
    yield "cls.bias", (shape.width,)
    yield "cls.output.weight", (1, shape.width)
    yield "cls.output.bias", (1,)


def _around(shape: Shape) -> Tensors:
    yield "token_embd.weight", (shape.vocabulary, shape.width)
    yield "output_norm.weight", (shape.width,)
    yield "output.weight", (shape.vocabulary, shape.width)


def _blocks(shape: Shape) -> Iterator[str]:
    return (f"blk.{number}" for number in range(shape.blocks))


def _attention(block: str, shape: Shape) -> Tensors:
    yield f"{block}.attn_norm.weight", (shape.width,)
    yield f"{block}.attn_q.weight", (shape.width, shape.width)
    yield f"{block}.attn_k.weight", (shape.key_width, shape.width)
    yield f"{block}.attn_v.weight", (shape.key_width, shape.width)
    yield f"{block}.attn_output.weight", (shape.width, shape.width)


def _feed_forward(block: str, shape: Shape) -> Tensors:
    yield f"{block}.ffn_norm.weight", (shape.width,)
    yield f"{block}.ffn_gate.weight", (shape.feed_forward, shape.width)
    yield f"{block}.ffn_up.weight", (shape.feed_forward, shape.width)
    yield f"{block}.ffn_down.weight", (shape.width, shape.feed_forward)


def _head_norms(block: str, shape: Shape) -> Tensors:
    for name in ("attn_q_norm", "attn_k_norm"):
        yield f"{block}.{name}.weight", (shape.width // shape.heads,)


# The name that llama.cpp knows it by, its keys, and its tensors.
ARCHITECTURES: Mapping[
    str, tuple[str, Callable[[ModelFile, Shape], None], Callable[[Shape], Tensors]]
] = {
    "llama": ("llama", _decoder, _llama_tensors),
    "mixtral": ("llama", _decoder, _mixtral_tensors),
    "qwen2": ("qwen2", _decoder, _qwen2_tensors),
    "qwen3": ("qwen3", _decoder, _qwen3_tensors),
    "gemma2": ("gemma2", _gemma2, _gemma2_tensors),
    "gemma3": ("gemma3", _gemma3, _gemma3_tensors),
    "phi3": ("phi3", _decoder, _phi3_tensors),
    "embedder": ("bert", _encoder, _encoder_tensors),
    "reranker": ("bert", _reranker, _reranker_tensors),
}
ENCODERS = ("embedder", "reranker")
DECODERS = tuple(name for name in ARCHITECTURES if name not in ENCODERS)


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="llama")
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--format", choices=FORMATS, default="f16")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    write_random(
        chosen.output,
        chosen.architecture,
        shape=PRESETS[chosen.preset],
        form=chosen.format,
        seed=chosen.seed,
    )


if __name__ == "__main__":
    main()
