"""A whole system whose key manager is put back to yesterday, with the counter of its platform."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.services import PLATFORM

from .conftest import System
from .test_identity import AGENT

pytestmark = pytest.mark.system

RESTORED = ("keymanager", PLATFORM.name)
REMEMBERING = ("assembler", "runtime")


def test_what_services_kept_in_their_files_refuses_an_older_key_manager(
    system: System, tmp_path: Path
) -> None:
    agent = tmp_path / "agent.yaml"
    agent.write_text(AGENT)
    arguments = ("run", str(agent), "--input", "hello", "--json")
    assert system.command("down").code == 0
    for name in RESTORED:
        shutil.copytree(system.home.data_dir(name), tmp_path / name)
    assert system.up().code == 0
    assert system.command(*arguments).code == 0
    assert system.command("down").code == 0
    for name in RESTORED:
        shutil.rmtree(system.home.data_dir(name))
        shutil.copytree(tmp_path / name, system.home.data_dir(name))
    assert [one for one in REMEMBERING if mark_file(system, one).exists()] == [*REMEMBERING]
    system.home.mark_file.unlink(missing_ok=True)
    assert system.up().code == 0

    refused = system.command(*arguments)
    listed = system.command("secrets", "list", "--json")

    assert refused.code != 0
    assert "ROLLED_BACK" in listed.output + listed.errors
    sequence = mark_file(system, "runtime").read_text().split(":")[1]
    assert system.command("audit", "accept-rollback", sequence, "--yes").code == 0
    assert system.command("secrets", "list", "--json").code == 0


def mark_file(system: System, service: str) -> Path:
    """Return where a service remembers how far the log of the key manager was."""
    return system.home.data_dir(service) / "keymanager.mark"


def test_the_command_line_remembers_too(system: System) -> None:
    assert system.command("secrets", "list", "--json").code == 0

    assert system.home.mark_file.read_text().startswith("keymanager/")
