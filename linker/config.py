"""Settings of the linker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig

from .local_config import LocalConfig
from .providers_file import read_providers


class LinkerConfig(LocalConfig, ServiceConfig):
    """What the linker needs to know."""

    model_config = SettingsConfigDict(env_prefix="LINKER_", frozen=True)

    gas_address: str = Field(description="host:port of the gas system")
    keymanager_address: str = Field(description="host:port of the key manager")
    providers_file: Path | None = Field(
        default=None, description="YAML file of providers; without it, the public ones"
    )
    recordings: Path | None = Field(
        default=None, description="folder of recordings of models; without it, none are made"
    )
    recordings_mode: Literal["record", "replay"] = Field(
        default="replay", description="record what models say, or play it without them"
    )
    models_dir: Path = Field(description="folder of weights: local/<name> is <name>.gguf in it")

    @field_validator("providers_file")
    @classmethod
    def _is_in_order(cls, path: Path | None) -> Path | None:
        read_providers(path)
        return path
