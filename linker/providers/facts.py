"""What the header of a file says to a person who chooses a model."""

from __future__ import annotations

from ..links import WeightFacts
from .gguf import Header
from .settings import EngineSettings

LICENCE_LENGTH_MAX = 64

# llama.cpp gives a context in steps of this size, and two bytes to each number in it.
CONTEXT_STEP = 256
CACHE_BYTES = 2
# What exceeds it comes from a header that lies.
CACHE_BYTES_MAX = 2**50

# `general.file_type`, in the words of those who publish weights.
QUANTISATIONS = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
}


def facts_of(header: Header, settings: EngineSettings, *, size_bytes: int) -> WeightFacts:
    """Return what is known of weights that are run with such settings."""
    architecture = str(header.values["general.architecture"])
    trained_tokens = _number(header, f"{architecture}.context_length")
    context_tokens = min(trained_tokens, settings.context_tokens_max)
    cells = context_tokens if is_pooled(header) else settings.cells(context_tokens)
    cache_bytes = _cache_bytes(header, architecture, cells)
    licence = header.values.get("general.license", "")
    return WeightFacts(
        architecture=architecture[:LICENCE_LENGTH_MAX],
        parameter_count=header.parameter_count,
        quantisation=QUANTISATIONS.get(_number(header, "general.file_type", missing=-1), ""),
        context_tokens=trained_tokens,
        memory_bytes=size_bytes + cache_bytes if 0 < cache_bytes <= CACHE_BYTES_MAX else 0,
        licence=licence[:LICENCE_LENGTH_MAX] if isinstance(licence, str) else "",
    )


def is_pooled(header: Header) -> bool:
    """Tell whether a model makes one vector or one score of a text, and writes nothing."""
    architecture = str(header.values["general.architecture"])
    return _number(header, f"{architecture}.pooling_type") > 0


def _cache_bytes(header: Header, architecture: str, cells: int) -> int:
    """Return the size of the keys and values of so many tokens; 0 where blocks differ in shape."""

    def number(name: str, missing: int = 0) -> int:
        return _number(header, f"{architecture}.{name}", missing=missing)

    heads = number("attention.head_count")
    if not heads:
        return 0
    head_size = number("embedding_length") // heads
    sizes = number("attention.key_length", head_size) + number("attention.value_length", head_size)
    steps = -(-cells // CONTEXT_STEP)
    return (
        number("block_count")
        * number("attention.head_count_kv", heads)
        * sizes
        * steps
        * CONTEXT_STEP
        * CACHE_BYTES
    )


def _number(header: Header, key: str, *, missing: int = 0) -> int:
    """Return a whole number of the header; a list is 0."""
    value = header.values.get(key, missing)
    if key in header.lists or not isinstance(value, int):
        return 0
    return value
