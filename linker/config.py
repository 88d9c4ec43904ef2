"""Settings of the linker."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig

from .providers_file import read_providers


def _threads_default() -> int:
    # Threads of llama.cpp spin while they wait for each other: one more than there are free cores
    # is slower than one alone. The other services want cores too.
    return max(1, (os.cpu_count() or 1) // 2)


class LinkerConfig(ServiceConfig):
    """What the linker needs to know."""

    model_config = SettingsConfigDict(env_prefix="LINKER_", frozen=True)

    gas_address: str = Field(description="host:port of the gas system")
    keymanager_address: str = Field(description="host:port of the key manager")
    providers_file: Path | None = Field(
        default=None, description="YAML file of providers; without it, the public ones"
    )
    models_dir: Path = Field(description="folder of weights: local/<name> is <name>.gguf in it")
    threads: int = Field(
        default_factory=_threads_default, ge=1, le=64, description="threads of llama.cpp"
    )
    context_tokens: int = Field(
        default=8192, ge=256, le=1_048_576, description="most context to use of a local model"
    )

    @field_validator("providers_file")
    @classmethod
    def _is_in_order(cls, path: Path | None) -> Path | None:
        read_providers(path)
        return path
