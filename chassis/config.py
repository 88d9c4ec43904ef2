"""Settings of a service, read once from the environment and from files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceConfig(BaseSettings):
    """What every service needs to know; subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True)

    listen: str = Field(description="host:port to serve on; port 0 takes a free one")
    data_dir: Path = Field(description="folder that this service alone writes")
    identities_file: Path = Field(description="JSON: SHA-256 of a token -> name of its owner")
    token_file: Path = Field(description="this service's own token, for calls to others")
    log_level: str = Field(default="info", description="debug, info, warning or error")
    otlp_endpoint: str = Field(default="", description="OpenTelemetry collector; empty is off")


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
    """Return this service's own token."""
    return config.token_file.read_text().strip()
