"""Settings of the runtime."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig


class RuntimeConfig(ServiceConfig):
    """Where the peers are; see `ServiceConfig` for the rest."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="RUNTIME_")

    assembler_address: str = Field(description="host:port of the assembler")
    linker_address: str = Field(
        pattern=r"\S", description="host:port of the linker; of several, with spaces between"
    )
    keymanager_address: str = Field(description="host:port of the key manager")
    knowledge_address: str = Field(description="host:port of knowledge storage")
    gas_address: str = Field(description="host:port of the gas system")
    webhook_address: str = Field(
        default="",
        pattern=r"^(.+:[0-9]{1,5})?$",
        description="host:port to take webhooks on, in the clear; empty takes none",
    )
    webhook_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="where callers find that address; default http:// and the address itself",
    )
    webhook_key_file: Path | None = Field(
        default=None, description="32 bytes that secrets of webhooks are made of; default our own"
    )
    database_url: str = Field(
        default="",
        description="postgresql+psycopg://…, which runtimes may share; empty is a file in data_dir",
    )
    worker: str = Field(
        default="",
        max_length=100,
        description="name that no other runtime has; under it, its own runs are taken up at once",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: str) -> str:
        if url and not url.startswith("postgresql+psycopg://"):
            raise ValueError("must start with 'postgresql+psycopg://', or be left out")
        return url
