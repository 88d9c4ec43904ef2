"""A LLaMA in PyTorch, small enough to read in one go."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # what everybody calls it
from torch import Tensor, nn

HEAD_WIDTH = 32
ROPE_BASE = 10_000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """The size of a network; widths are multiples of 32, which Q8_0 wants."""

    vocabulary: int
    width: int
    layers: int
    feed_forward: int

    @property
    def heads(self) -> int:
        """Return the number of heads."""
        return self.width // HEAD_WIDTH


class Network(nn.Module):
    """Tokens to scores of the next token; input and output share the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=EPSILON)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blocks:
            for matrix in (block.output, block.down):
                nn.init.normal_(matrix.weight, std=0.02 / (2 * shape.layers) ** 0.5)

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the scores at the `wanted` places only, one row each."""
        state = self.embedding(tokens)
        length = tokens.shape[1]
        rotation = _rotation(length, tokens.device)
        causal = torch.full((length, length), -math.inf, device=tokens.device).triu(1)
        for block in self.blocks:
            state = block(state, rotation, causal)
        return F.linear(self.norm(state[wanted]), self.embedding.weight)


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.attention_norm = nn.RMSNorm(width, eps=EPSILON)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.RMSNorm(width, eps=EPSILON)
        self.gate = nn.Linear(width, shape.feed_forward, bias=False)
        self.up = nn.Linear(width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, width, bias=False)

    def forward(self, state: Tensor, rotation: tuple[Tensor, Tensor], causal: Tensor) -> Tensor:
        batch, length, width = state.shape

        def heads(projected: Tensor) -> Tensor:
            return projected.view(batch, length, self.heads, HEAD_WIDTH).transpose(1, 2)

        normed = self.attention_norm(state)
        query = _rotate(heads(self.query(normed)), rotation)
        key = _rotate(heads(self.key(normed)), rotation)
        seen = _attend(query, key, heads(self.value(normed)), causal)
        state = state + self.output(seen.transpose(1, 2).reshape(batch, length, width))
        normed = self.feed_norm(state)
        return state + self.down(F.silu(self.gate(normed)) * self.up(normed))


def _attend(query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> Tensor:
    """Return what the heads read; on a CPU twice as fast as PyTorch's own attention."""
    half = query.shape[2] // 2
    # The first half of the queries cannot see the second half of the keys.
    early = _read(query[:, :, :half], key[:, :, :half], value[:, :, :half], causal[:half, :half])
    return torch.cat([early, _read(query[:, :, half:], key, value, causal[half:])], dim=2)


def _read(query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) * HEAD_WIDTH**-0.5
    return torch.softmax(scores + causal.to(scores.dtype), -1, dtype=scores.dtype) @ value


def _rotation(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rates = ROPE_BASE ** -(torch.arange(0, HEAD_WIDTH, 2, device=device).float() / HEAD_WIDTH)
    angles = torch.outer(torch.arange(length, device=device).float(), rates)
    return angles.cos(), angles.sin()


def _rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    # Neighbours are a pair, as llama.cpp has it; the halves of a head would need a permutation.
    cos, sin = rotation
    even, odd = heads[..., 0::2].float(), heads[..., 1::2].float()
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(heads.dtype)
