"""Settings of the gas system."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig
from chassis.seal import require_key_file

from .price_file import PACKAGED, read_prices


class GasConfig(ServiceConfig):
    """`GAS_…` in the environment."""

    model_config = SettingsConfigDict(env_prefix="GAS_", frozen=True)

    prices_file: Path = Field(default=PACKAGED, description="YAML: the price table")

    database_url: str = Field(
        default="", description="postgresql+psycopg://…; empty is a file in data_dir"
    )

    webhook_key_file: Path | None = Field(
        default=None,
        description="32 bytes or more that nobody can guess; events of webhooks are signed with it",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: str) -> str:
        if url and not url.startswith("postgresql+psycopg://"):
            raise ValueError("must start with 'postgresql+psycopg://', or be left out")
        return url

    @field_validator("webhook_key_file")
    @classmethod
    def _is_key(cls, path: Path | None) -> Path | None:
        return require_key_file(path)

    @field_validator("prices_file")
    @classmethod
    def _is_price_table(cls, path: Path) -> Path:
        # Here, so that `--check` sees a broken table before the service is restarted with it.
        read_prices(path)
        return path
