"""Writes a large model that says what a small LLaMA says: for benchmarks of what takes computing.

Every width, and the number of blocks, grows; what is added is multiplied by zero on its way out. So
the large model computes all that a trained one of its size would, and still calls what it should.
"""

from __future__ import annotations

import argparse
import pathlib
from dataclasses import dataclass

import gguf
import numpy as np

from .model_file import FORMATS, ModelFile, Numbers, open_model

DEVIATION = 0.02
_REPLACED = ("embedding_length", "block_count", "feed_forward_length", "layer_norm_rms_epsilon")
_OWN = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class Larger:
    """The sizes of the large model: those of 120 million numbers."""

    width: int = 768
    blocks: int = 24
    feed_forward: int = 2_048


LARGER = Larger()


def enlarge(
    source: pathlib.Path, output: pathlib.Path, *, form: str = "q8_0", larger: Larger = LARGER
) -> None:
    """Write a large model, the same for the same source."""
    reader = gguf.GGUFReader(source)
    small = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in reader.tensors
    }
    width = len(small["output_norm.weight"])
    dice = np.random.default_rng(0)
    with open_model(output, "llama", form) as file:
        _copy_keys(reader, file, width, larger)
        for name in ("token_embd.weight", "output_norm.weight", "output.weight"):
            if name in small:
                file.add(name, _grow(dice, name, small[name], width, larger))
        blocks = 1 + max(int(name.split(".")[1]) for name in small if name.startswith("blk."))
        for number in range(larger.blocks):
            for name in [name for name in small if name.startswith("blk.0.")]:
                own = name.replace("blk.0.", f"blk.{number}.")
                numbers = small[own] if number < blocks else np.zeros_like(small[name])
                file.add(own, _grow(dice, own, numbers, width, larger))


def _copy_keys(reader: gguf.GGUFReader, file: ModelFile, width: int, larger: Larger) -> None:
    keys = {name: field.contents() for name, field in reader.fields.items()}
    heads = keys["llama.attention.head_count"]
    for name, field in reader.fields.items():
        if not name.startswith(_OWN) and not name.endswith(_REPLACED):
            kind = field.types[0]
            inner = field.types[1] if kind is gguf.GGUFValueType.ARRAY else None
            file.writer.add_key_value(name, keys[name], kind, inner)
    file.writer.add_embedding_length(larger.width)
    file.writer.add_block_count(larger.blocks)
    file.writer.add_feed_forward_length(larger.feed_forward)
    file.writer.add_key_length(width // heads)
    file.writer.add_value_length(width // heads)
    epsilon = keys["llama.attention.layer_norm_rms_epsilon"]
    file.writer.add_layer_norm_rms_eps(epsilon * width / larger.width)


def _grow(
    dice: np.random.Generator, name: str, numbers: Numbers, width: int, larger: Larger
) -> Numbers:
    """Return a tensor in its new size; what it adds to the sum of the blocks stays the same."""
    if numbers.ndim == 1:
        # A norm divides by the mean over all numbers, of which the new ones are zero.
        scale = np.float32((width / larger.width) ** 0.5)
        return np.pad(numbers * scale, (0, larger.width - width), constant_values=1)
    rows, columns = numbers.shape
    if name.endswith(("ffn_gate.weight", "ffn_up.weight")):
        rows = larger.feed_forward
    elif name.endswith(("attn_output.weight", "ffn_down.weight")):
        rows = larger.width
    columns = larger.feed_forward if name.endswith("ffn_down.weight") else columns
    columns = (
        larger.width if columns == width and not name.endswith("attn_output.weight") else columns
    )
    if name.endswith(("attn_output.weight", "ffn_down.weight", "token_embd.weight")):
        grown = np.zeros((rows, columns), np.float32)
    else:
        grown = dice.standard_normal((rows, columns), dtype=np.float32) * np.float32(DEVIATION)
    grown[: numbers.shape[0], : numbers.shape[1]] = numbers
    return grown


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--format", choices=FORMATS, default="q8_0")
    chosen = parser.parse_args()
    enlarge(chosen.source, chosen.output, form=chosen.format)


if __name__ == "__main__":
    main()
