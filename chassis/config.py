"""Settings of a service, read once from the environment and from files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# Where nobody else on the way can listen.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "unix")


class ServiceConfig(BaseSettings):
    """What every service needs to know; subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True)

    listen: str = Field(description="host:port to serve on; port 0 takes a free one")
    data_dir: Path = Field(description="folder that this service alone writes")
    identities_file: Path = Field(description="JSON: SHA-256 of a token -> name of its owner")
    peer_listen: str = Field(default="", description="host:port to serve other services on")
    ca_file: Path | None = Field(
        default=None, description="PEM: the certificate that all others are checked against"
    )
    platform_socket: Path | None = Field(
        default=None, description="the socket of platformd, which says what a process is"
    )
    issuer_address: str = Field(
        default="", description="host:port where a process without a certificate gets one"
    )
    issuer_peer_address: str = Field(
        default="", description="host:port where services learn what is revoked"
    )
    tls: Literal["on", "off"] = Field(
        default="on", description="off: in the clear and with tokens for services; for tests"
    )
    token_file: Path | None = Field(
        default=None, description="this service's own token, for calls to others without TLS"
    )
    log_level: str = Field(default="info", description="debug, info, warning or error")
    otlp_endpoint: str = Field(default="", description="OpenTelemetry collector; empty is off")

    # What TLS needs to be set; who gives certificates needs no issuer.
    needs_for_tls: ClassVar[tuple[str, ...]] = (
        "peer_listen",
        "ca_file",
        "platform_socket",
        "issuer_address",
        "issuer_peer_address",
    )

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.tls == "on":
            missing = [name.upper() for name in self.needs_for_tls if not getattr(self, name)]
            if missing:
                raise ValueError(f"TLS needs {', '.join(missing)}; or set TLS=off, for tests")
        elif self.listen.rpartition(":")[0] not in LOOPBACK:
            raise ValueError("TLS=off is for loopback only; listen on 127.0.0.1, or leave it on")
        return self


Config = TypeVar("Config", bound=ServiceConfig)


def load(kind: type[Config]) -> Config:
    """Read the settings, or say what is wrong with them and exit with 2.

    `--check` on the command line validates and exits. Pydantic does not notice a misspelt variable,
    so every variable with our prefix must be a field.
    """
    prefix = kind.model_config["env_prefix"]
    known = sorted((prefix + name).upper() for name in kind.model_fields)
    problems = [
        f"{name}: no such setting; known are {', '.join(known)}"
        for name in sorted(os.environ)
        if name.startswith(prefix) and name not in known
    ]
    config = None
    try:
        config = kind()
    except ValidationError as error:
        problems += [
            f"{prefix}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        ]
    if config is None or problems:
        sys.stderr.write("\n".join(problems) + "\n")
        raise SystemExit(2)
    if "--check" in sys.argv:
        raise SystemExit(0)
    return config


def read_token(config: ServiceConfig) -> str:
    """Return this service's own token; empty if it has none."""
    return config.token_file.read_text().strip() if config.token_file else ""
