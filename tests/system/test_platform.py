"""The real services and the real platformd: who is measured as what, and what a crash costs."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from cli.services import PLATFORM, SERVICE_NAMES

from .conftest import System, pause

pytestmark = pytest.mark.system


@pytest.fixture
def running(system: System) -> System:
    """Return the system, up again if a test before took it down."""
    started = system.up()
    assert started.code == 0, started.errors
    return system


def platform_of(system: System) -> dict[str, Any]:
    found = system.command("status", "--json").document["platform"]
    assert isinstance(found, dict)
    return found


def test_the_platform_runs_before_the_services_without_a_port(running: System) -> None:
    assert platform_of(running)["health"] == "serving"
    services = [psutil.Process(child.pid) for child in running.state.services.values()]
    own = psutil.Process(running.state.platform.pid)
    assert all(own.create_time() < one.create_time() for one in services)
    assert not own.net_connections("tcp")


def test_no_process_of_the_system_leaves_a_core_file(running: System) -> None:
    children = [*running.state.services.values(), running.state.platform]
    limits = [psutil.Process(child.pid).rlimit(psutil.RLIMIT_CORE) for child in children]
    assert len(limits) == len(SERVICE_NAMES) + 1
    assert not set(limits) - {(0, 0), (1, 1)}


def test_a_killed_platform_runs_again(running: System) -> None:
    before = running.state.platform
    psutil.Process(before.pid).kill()

    while (after := running.state.platform).pid in {0, before.pid}:
        pause()

    assert (after.restarts, after.last_exit) == (before.restarts + 1, "killed by SIGKILL")
    assert running.up().code == 0


def test_down_ends_the_platform_too(running: System) -> None:
    platform = psutil.Process(running.state.platform.pid)

    assert running.command("down").code == 0

    assert not platform.is_running()


def test_a_platform_that_cannot_start_is_why_the_system_does_not(running: System) -> None:
    running.command("down")
    root = running.home.data_dir(PLATFORM.name) / "root.key"
    root.rename(root.with_name("kept"))
    try:
        done = running.up()
    finally:
        running.command("down")
        root.with_name("kept").rename(root)

    assert done.code == 3
    assert "restore it from a backup" in done.document["error"]["message"]


def test_only_its_owner_reaches_the_platform(running: System) -> None:
    assert running.home.platform_socket.stat().st_mode & 0o077 == 0
