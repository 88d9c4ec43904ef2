"""Settings of the gas system."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig

from .price_file import PACKAGED, read_prices


class GasConfig(ServiceConfig):
    """`GAS_…` in the environment."""

    model_config = SettingsConfigDict(env_prefix="GAS_", frozen=True)

    prices_file: Path = Field(default=PACKAGED, description="YAML: the price table")

    @field_validator("prices_file")
    @classmethod
    def _is_price_table(cls, path: Path) -> Path:
        # Here, so that `--check` sees a broken table before the service is restarted with it.
        read_prices(path)
        return path
