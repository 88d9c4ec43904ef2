"""Settings of the runtime."""

from __future__ import annotations

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
