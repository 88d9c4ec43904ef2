"""Settings of the runtime."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
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
