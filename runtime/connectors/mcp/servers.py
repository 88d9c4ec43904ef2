"""The servers that the operator names, in the format that MCP clients have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)

FILE_BYTES_MAX = 256 * 1024
SERVERS_MAX = 32

_Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class ServersInvalid(ValueError):
    """A file of servers that cannot be used, and the way out."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Process(_Strict):
    """A server that is started here, and speaks over its standard input and output."""

    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    cwd: Path | None = None


class Remote(_Strict):
    """A server that answers over streamable HTTP, at an address that the egress lets be asked."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$", max_length=2_048)]


Server: TypeAlias = Process | Remote


def _kind(value: object) -> str:
    return "remote" if isinstance(value, dict) and "url" in value else "process"


_Either: TypeAlias = Annotated[
    Annotated[Process, Tag("process")] | Annotated[Remote, Tag("remote")], Discriminator(_kind)
]


class _File(_Strict):
    servers: dict[_Name, _Either] = Field(alias="mcpServers", max_length=SERVERS_MAX)


def read_servers(path: Path) -> dict[str, Server]:
    """Return the servers of a JSON file by their names; raise `ServersInvalid`."""
    try:
        text = path.read_bytes()[: FILE_BYTES_MAX + 1]
    except OSError as error:
        raise ServersInvalid(f"{path}: {error.strerror}") from error
    if len(text) > FILE_BYTES_MAX:
        raise ServersInvalid(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return dict(_File.model_validate(json.loads(text)).servers)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part not in {"process", "remote"})
        raise ServersInvalid(f"{path}: {field}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ServersInvalid(f"{path}: no JSON: {error}") from None
