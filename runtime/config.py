"""Settings of the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig
from chassis.errors import InvalidField
from chassis.receivers import require_url
from chassis.seal import require_key_file
from sandbox.choosing import Digests

from .connectors.mcp.servers import read_servers
from .connectors.packages import find_packages
from .egress import Refused
from .egress.addresses import read_local

RECEIVERS_MAX = 8
LOCAL_SERVICES_MAX = 64


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
        default=None,
        description="32 bytes or more that secrets of webhooks are made of; default one of our own",
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
    sandbox: Literal["strong", "any", "off"] = Field(
        default="strong",
        description="where code is executed: behind strong bars only, behind any, or not at all",
    )
    sandbox_workers: int = Field(
        default=0, ge=0, le=256, description="processes that execute code; 0 is one for each core"
    )
    code_may: str = Field(
        default="",
        description="actions that code may use, with spaces between; empty is all it was granted",
    )
    code_native: Digests = Field(
        default="",
        description="SHA-256 of code that needs native wheels, and that you have read: it runs "
        "outside of WebAssembly; with spaces between",
    )
    approval_webhooks: str = Field(
        default="", description="URLs that hear of questions to people; with spaces between"
    )
    approval_key_file: Path | None = Field(
        default=None,
        description="32 bytes or more that nobody can guess; what those hear is signed with it",
    )

    egress_allow: str = Field(
        default="",
        description="host:port that agents may ask although they are private; with commas between",
    )
    connectors: str = Field(
        default="",
        description="connectors of installed packages that agents may use, with spaces between; "
        "they run in this process, and see the keys that they are sent with",
    )

    mcp_file: Path | None = Field(
        default=None,
        description="a JSON file with mcpServers, whose tools agents may use; those that are "
        "started run as this user",
    )

    @field_validator("mcp_file")
    @classmethod
    def _has_servers(cls, path: Path | None) -> Path | None:
        if path:
            read_servers(path)
        return path

    @field_validator("connectors")
    @classmethod
    def _are_installed(cls, text: str) -> str:
        find_packages(text.split())
        return text

    @property
    def local_services(self) -> frozenset[tuple[str, int]]:
        """Return what `egress_allow` names."""
        named = (part.strip() for part in self.egress_allow.split(","))
        return frozenset(read_local(part) for part in named if part)

    @field_validator("egress_allow")
    @classmethod
    def _are_local_services(cls, text: str) -> str:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(parts) > LOCAL_SERVICES_MAX:
            raise ValueError(f"has {len(parts)} services; at most {LOCAL_SERVICES_MAX} are allowed")
        for part in parts:
            try:
                read_local(part)
            except Refused as error:
                raise ValueError(error.message) from error
        return text

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: str) -> str:
        if url and not url.startswith("postgresql+psycopg://"):
            raise ValueError("must start with 'postgresql+psycopg://', or be left out")
        return url

    @field_validator("approval_webhooks")
    @classmethod
    def _are_receivers(cls, text: str) -> str:
        urls = text.split()
        if len(urls) > RECEIVERS_MAX:
            raise ValueError(f"has {len(urls)} URLs; at most {RECEIVERS_MAX} are allowed")
        for url in urls:
            try:
                require_url("it", url)
            except InvalidField as error:
                raise ValueError(str(error)) from error
        return text

    @field_validator("approval_key_file", "webhook_key_file")
    @classmethod
    def _is_key(cls, path: Path | None) -> Path | None:
        return require_key_file(path)

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.approval_webhooks and self.approval_key_file is None:
            raise ValueError("RUNTIME_APPROVAL_KEY_FILE is missing: nothing is sent unsigned")
        return self
