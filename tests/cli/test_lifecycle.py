"""Tests of what `up` checks before it starts anything, and of how the supervisor decides."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli import lifecycle
from cli.errors import CommandError
from cli.home import Home
from cli.services import SERVICES, environment
from cli.state import Child, State, read_alive, read_state
from cli.supervisor import QUICK_DEATHS_MAX, QUICK_SECONDS, Ward, describe_exit

from .conftest import Invoke


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on a free port; the one before it is free, too."""
    while True:
        with socket.socket() as opened, socket.socket() as before:
            opened.bind(("127.0.0.1", 0))
            try:
                before.bind(("127.0.0.1", opened.getsockname()[1] - 1))
            except OSError:
                continue
            before.close()
            opened.listen()
            yield opened
            return


def test_a_taken_port_is_named_with_its_service_owner_and_way_out(
    listener: socket.socket,
) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(CommandError) as caught:
        lifecycle.check_ports(port - 1)

    assert caught.value.reason == "PORT_TAKEN"
    assert f"port {port}, which linker needs" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert "--port-base" in caught.value.fix


@pytest.mark.parametrize("port_base", [-1, 0, 80, 65_531, 70_000])
def test_a_base_port_without_six_ports_is_refused(port_base: int) -> None:
    with pytest.raises(CommandError, match="base port"):
        lifecycle.check_port_base(port_base)


def test_a_supervisor_whose_process_is_gone_is_not_alive(home: Home) -> None:
    State(2**22 - 1, 1.0, 7401, Child(""), {}).write(home)

    assert read_alive(home) is None


def test_a_recycled_process_id_is_not_a_supervisor(home: Home) -> None:
    State(os.getpid(), psutil.Process().create_time() - 60, 7401, Child(""), {}).write(home)

    assert read_alive(home) is None


def test_a_state_reads_as_it_was_written(home: Home) -> None:
    child = Child("127.0.0.1:7405", restarts=4, last_exit="exited with 1", failed=True)
    written = State(7, 1.5, 7401, Child("socket", pid=3), {"gas": child})
    written.write(home)

    assert read_state(home) == written


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"services": 1}', "null"])
def test_a_damaged_state_counts_as_none(home: Home, content: str) -> None:
    home.state_file.write_text(content)

    assert read_state(home) is None


def test_a_service_is_told_its_own_settings_and_those_of_its_peers(tmp_path: Path) -> None:
    runtime = next(service for service in SERVICES if service.name == "runtime")

    settings = environment(Home(tmp_path), runtime, 7401)

    assert settings == {
        "RUNTIME_LISTEN": "127.0.0.1:7406",
        "RUNTIME_PEER_LISTEN": "127.0.0.1:7416",
        "RUNTIME_CA_FILE": str(tmp_path / "ca.pem"),
        "RUNTIME_ISSUER_ADDRESS": "127.0.0.1:7403",
        "RUNTIME_ISSUER_PEER_ADDRESS": "127.0.0.1:7413",
        "RUNTIME_DATA_DIR": str(tmp_path / "data/runtime"),
        "RUNTIME_APPROVAL_KEY_FILE": str(tmp_path / "webhooks.key"),
        "RUNTIME_IDENTITIES_FILE": str(tmp_path / "identities.json"),
        "RUNTIME_PLATFORM_SOCKET": str(tmp_path / "platformd.sock"),
        "RUNTIME_LOG_LEVEL": "info",
        "RUNTIME_ASSEMBLER_ADDRESS": "127.0.0.1:7411",
        "RUNTIME_LINKER_ADDRESS": "127.0.0.1:7412",
        "RUNTIME_KEYMANAGER_ADDRESS": "127.0.0.1:7413",
        "RUNTIME_KNOWLEDGE_ADDRESS": "127.0.0.1:7414",
        "RUNTIME_GAS_ADDRESS": "127.0.0.1:7415",
    }


def ward() -> Ward:
    return Ward(SERVICES[0], Child("127.0.0.1:1", pid=9))


def test_a_service_that_dies_starts_again_at_once() -> None:
    fallen = ward()

    fallen.note_exit(signal.SIGKILL, 100.0)

    assert fallen.due == 100.0


def test_pauses_grow_while_a_service_dies_quickly() -> None:
    fallen, pauses = ward(), []

    for _ in range(QUICK_DEATHS_MAX - 1):
        fallen.note_exit(256, fallen.started)
        assert fallen.due is not None
        pauses.append(fallen.due - fallen.started)

    assert pauses == sorted(set(pauses))


def test_a_service_that_keeps_dying_stays_down() -> None:
    fallen = ward()

    for _ in range(QUICK_DEATHS_MAX):
        fallen.note_exit(256, fallen.started)

    assert fallen.due is None
    assert fallen.child.failed


def test_a_service_that_lived_for_a_while_is_forgiven() -> None:
    fallen = ward()

    for _ in range(QUICK_DEATHS_MAX * 2):
        fallen.note_exit(256, fallen.started + QUICK_SECONDS + 1)

    assert not fallen.child.failed


@pytest.mark.parametrize(
    ("status", "words"), [(signal.SIGKILL, "killed by SIGKILL"), (256, "exited with 1")]
)
def test_an_exit_is_described_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_a_home_that_cannot_be_made_is_an_operating_error(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = invoke("--home", str(tmp_path / "file"), "up", "--detach")

    assert result.exit_code == 2
    assert "FILE_UNUSABLE" in result.stderr
