"""Settings of the assembler."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig
from sandbox.choosing import Digests


class AssemblerConfig(ServiceConfig):
    """What every service needs, and where its peers are."""

    model_config = SettingsConfigDict(env_prefix="ASSEMBLER_", frozen=True)

    linker_address: str = Field(description="host:port of the linker")
    keymanager_address: str = Field(description="host:port of the key manager")
    knowledge_address: str = Field(description="host:port of the knowledge storage")
    gas_address: str = Field(description="host:port of the gas system")
    runtime_address: str = Field(description="host:port of the runtime")
    code_native: Digests = Field(
        default="", description="SHA-256 of code that the runtime executes outside of WebAssembly"
    )
