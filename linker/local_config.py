"""What models may take of this machine: settings of the linker that doctor reads too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def _threads_default() -> int:
    # Threads of llama.cpp spin while they wait for each other: one more than there are free cores
    # is slower than one alone. The other services want cores too.
    return max(1, (os.cpu_count() or 1) // 2)


def _memory_default() -> int:
    """Return three quarters of what this process may have: weights are not all that it has."""
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):
        # Of the container, if it has a limit; "max" if not.
        total = min(total, int(CGROUP_LIMIT.read_text(encoding="ascii")))
    return total * 3 // 4


class LocalConfig(BaseSettings):
    """What all local models together may take, and each of them."""

    model_config = SettingsConfigDict(env_prefix="LINKER_", frozen=True)

    threads: int = Field(
        default_factory=_threads_default, ge=1, le=64, description="threads of llama.cpp"
    )
    context_tokens: int = Field(
        default=8192, ge=256, le=1_048_576, description="most context to use of a local model"
    )
    memory_bytes: int = Field(
        default_factory=_memory_default,
        ge=1,
        description="memory that all local models together may take; default 3/4 of the machine",
    )
    idle_seconds: float = Field(
        default=900.0, gt=0, description="a local model that nobody uses for so long is unloaded"
    )
    gpu_layers: int = Field(
        default=-1, ge=-1, description="layers to put on graphics cards; -1 for all"
    )
    main_gpu: int = Field(default=0, ge=0, description="card for what is not split")
    tensor_split: tuple[float, ...] = Field(
        default=(), max_length=16, description="share of each card, such as [3, 1]; [] by memory"
    )
