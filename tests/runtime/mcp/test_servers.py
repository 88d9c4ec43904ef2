"""The file that names MCP servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.connectors.mcp.servers import (
    FILE_BYTES_MAX,
    Process,
    Remote,
    ServersInvalid,
    read_servers,
)


def written(folder: Path, content: object) -> Path:
    path = folder / "mcp.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_servers_are_read_as_other_clients_read_them(tmp_path: Path) -> None:
    files = {"command": "npx", "args": ["-y", "server-files", "/data"], "env": {"LEVEL": "info"}}
    path = written(
        tmp_path, {"mcpServers": {"files": files, "docs": {"url": "https://example.org/mcp"}}}
    )
    assert read_servers(path) == {
        "files": Process(
            command="npx", args=("-y", "server-files", "/data"), env={"LEVEL": "info"}
        ),
        "docs": Remote(url="https://example.org/mcp"),
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "valid dictionary"),
        ({}, "mcpServers"),
        ({"mcpServers": {"Files": {"command": "x"}}}, "mcpServers.Files"),
        ({"mcpServers": {"files": {}}}, "mcpServers.files"),
        ({"mcpServers": {"files": {"command": ""}}}, "mcpServers.files"),
        ({"mcpServers": {"files": {"command": "x", "shell": True}}}, "shell"),
        ({"mcpServers": {"docs": {"url": "ftp://example.org"}}}, "url"),
        ({"mcpServers": {"docs": {"url": "https://a:b@example.org/"}}}, "url"),
        ({"mcpServers": {"docs": {"url": "https://a.org", "headers": {}}}}, "headers"),
        ({"mcpServers": {f"s{n}": {"command": "x"} for n in range(33)}}, "mcpServers"),
        (" " * (FILE_BYTES_MAX + 1), "larger than"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name_and_field(
    tmp_path: Path, content: object, told: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ServersInvalid, match=r"mcp\.json") as raised:
        read_servers(path)
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServersInvalid, match="No such file"):
        read_servers(tmp_path / "mcp.json")
