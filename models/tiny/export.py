"""Writes the GGUF file that llama.cpp runs, with tokenizer and chat template, and reads it back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from .prompt import CONTROLS, END, FRAMES, TEMPLATE
from .tokenizer import Tokenizer, read_tokenizer

CONTEXT_LENGTH = 2_048
HEAD_WIDTH = 32
ROPE_BASE = 10_000.0
EPSILON = 1e-5

# Our names of what a block holds, and those of llama.cpp.
_MATRICES = {
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "output": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_NORMS = {"attention_norm": "attn_norm", "feed_norm": "ffn_norm"}

Weights = Mapping[str, NDArray[np.float32]]


def write_gguf(output: Path, weights: Weights, tokenizer: Tokenizer) -> None:
    """Write the file. The names of the weights are those of `network.Network`."""
    # A reader never finds half a model under the final name.
    unfinished = output.with_name(output.name + ".part")
    writer = gguf.GGUFWriter(unfinished, "llama")
    _add_shape(writer, weights)
    _add_tokenizer(writer, tokenizer)
    _add_tensors(writer, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(output)


def read_gguf(path: Path) -> tuple[dict[str, NDArray[np.float32]], Tokenizer]:
    """Return the weights and the tokenizer of a file that `write_gguf` wrote."""
    reader = gguf.GGUFReader(path)
    theirs = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in reader.tensors
    }
    weights = {
        "embedding.weight": theirs["token_embd.weight"],
        "norm.weight": theirs["output_norm.weight"],
    }
    layers = sum(name.endswith(".ffn_gate.weight") for name in theirs)
    for layer in range(layers):
        for ours, name in (_NORMS | _MATRICES).items():
            weights[f"blocks.{layer}.{ours}.weight"] = theirs[f"blk.{layer}.{name}.weight"]
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    return weights, Tokenizer([tuple(merge.split(" ")) for merge in merges])


def _add_shape(writer: gguf.GGUFWriter, weights: Weights) -> None:
    vocabulary, width = weights["embedding.weight"].shape
    writer.add_name("actionvm-tiny")
    writer.add_description("Calls actions in short English. A demonstration, not an assistant.")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_vocab_size(vocabulary)
    writer.add_embedding_length(width)
    writer.add_block_count(layer_count(weights))
    writer.add_head_count(width // HEAD_WIDTH)
    writer.add_head_count_kv(width // HEAD_WIDTH)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_feed_forward_length(weights["blocks.0.gate.weight"].shape[0])
    writer.add_layer_norm_rms_eps(EPSILON)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    kinds = dict.fromkeys(CONTROLS, gguf.TokenType.CONTROL)
    kinds |= dict.fromkeys(FRAMES, gguf.TokenType.USER_DEFINED)
    types = [kinds.get(token, gguf.TokenType.NORMAL) for token in tokenizer.tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(tokenizer.tokens))
    writer.add_token_types([int(kind) for kind in types])
    writer.add_token_merges([f"{left} {right}" for left, right in tokenizer.merges])
    end = tokenizer.tokens.index(END)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_add_bos_token(value=False)
    writer.add_add_eos_token(value=False)
    writer.add_chat_template(TEMPLATE.read_text(encoding="utf-8"))


def _add_tensors(writer: gguf.GGUFWriter, weights: Weights) -> None:
    # There is no `output.weight`: llama.cpp then takes the embedding, as the training did.
    _add_matrix(writer, "token_embd", weights["embedding.weight"])
    writer.add_tensor("output_norm.weight", weights["norm.weight"].astype(np.float32))
    for layer in range(layer_count(weights)):
        for ours, theirs in _NORMS.items():
            # Norms stay F32, or llama.cpp refuses the file.
            norm = weights[f"blocks.{layer}.{ours}.weight"].astype(np.float32)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", norm)
        for ours, theirs in _MATRICES.items():
            _add_matrix(writer, f"blk.{layer}.{theirs}", weights[f"blocks.{layer}.{ours}.weight"])


def _add_matrix(writer: gguf.GGUFWriter, name: str, matrix: NDArray[np.float32]) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    quantized = gguf.quants.quantize(np.ascontiguousarray(matrix, dtype=np.float32), kind)
    writer.add_tensor(f"{name}.weight", quantized, raw_dtype=kind)


def mean_of(networks: Sequence[Weights]) -> dict[str, NDArray[np.float32]]:
    """Return the mean of the networks that a training ended with, one after the other.

    It is often better than each (Izmailov et al., Averaging Weights Leads to Wider Optima, 2018).
    Raises `ValueError` if they are not of one shape.
    """
    first, *others = networks
    for other in others:
        if {n: a.shape for n, a in first.items()} != {n: a.shape for n, a in other.items()}:
            raise ValueError("networks of different shapes have no mean")
    return {
        name: np.mean([network[name] for network in networks], axis=0, dtype=np.float32)
        for name in first
    }


def layer_count(weights: Weights) -> int:
    """Return how many blocks there are."""
    return sum(name.endswith(".gate.weight") for name in weights)


def main() -> None:
    """Export what a folder of `train` holds."""
    parser = argparse.ArgumentParser(description="Write a checkpoint as GGUF.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    import torch  # noqa: PLC0415  # only here: writing a file needs no training

    path = arguments.folder / "checkpoint.pt"
    kept = torch.load(path, map_location="cpu", weights_only=True)
    # Until the learning rate has fallen for the first time, there is only what is in training.
    networks = [
        {name: tensor.float().numpy() for name, tensor in network.items()}
        for network in kept["ends"] or [kept["network"]]
    ]
    tokenizer = read_tokenizer(arguments.folder / "tokenizer.json")
    write_gguf(arguments.output, mean_of(networks), tokenizer)


if __name__ == "__main__":
    main()
