"""Tests of starting, stopping and dying, with the real six services."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cli.services import ROOT, SERVICE_NAMES, SERVICES, Service, environment

from .conftest import System, free_port_base, is_alive, pause, processes_of

pytestmark = pytest.mark.system


@pytest.fixture
def running(system: System) -> System:
    """Return the system, up again if a test before took it down."""
    started = system.up()
    assert started.code == 0, started.errors
    return system


def test_all_services_serve_in_processes_of_their_own(running: System) -> None:
    services = running.command("status", "--json").document["services"]

    assert {one["service"]: one["health"] for one in services} == dict.fromkeys(
        SERVICE_NAMES, "serving"
    )
    assert len({one["pid"] for one in services}) == len(SERVICE_NAMES)


def test_a_second_up_says_that_it_runs_and_changes_nothing(running: System) -> None:
    before = running.state

    done = running.command("up", "--detach")

    assert done.code == 0
    assert "already running" in done.output
    assert running.state == before


def test_a_taken_port_names_the_other_home_and_the_way_out(running: System) -> None:
    other = running.home.folder / "other"

    done = running.command(
        "--home", str(other), "up", "--detach", "--port-base", str(running.port_base)
    )

    assert done.code == 2
    assert f"port {running.port_base}" in done.errors
    assert f"actionvm --home {running.home.folder} down" in done.errors
    assert "--port-base" in done.errors


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_that_is_killed_serves_again(running: System, service: str) -> None:
    before = running.state.services[service]

    running.kill(service)

    assert running.up().code == 0
    after = running.state.services[service]
    assert after.pid not in {0, before.pid}
    assert after.last_exit == "killed by SIGKILL"


def test_no_service_outlives_its_supervisor_and_up_starts_anew(running: System) -> None:
    orphans = processes_of(running)
    os.kill(running.state.pid, signal.SIGKILL)

    started = running.up()

    assert started.code == 0, started.errors
    assert started.document["started"]
    assert not any(is_alive(process) for process in orphans)


def test_down_ends_every_process_and_may_be_repeated(running: System) -> None:
    first = running.command("down", "--json")
    left = processes_of(running)
    second = running.command("down", "--json")

    assert (first.document, second.document) == ({"stopped": True}, {"stopped": False})
    assert (first.code, second.code) == (0, 0)
    assert not left


def test_what_was_acknowledged_is_there_after_a_restart(running: System) -> None:
    put = running.command("secrets", "put", "lasting", "--kind", "ed25519", "--generate")
    running.command("down")
    running.up()

    listed = running.command("secrets", "list", "--json").document["secrets"]

    assert put.code == 0
    assert "secrets/lasting" in {secret["name"] for secret in listed}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_foreground_system_ends_with_its_command(running: System, number: signal.Signals) -> None:
    running.command("down")
    command = running.start("up", "--port-base", str(running.port_base), "--json")
    assert command.stdout is not None
    assert json.loads(command.stdout.readline())["started"]
    processes = processes_of(running)

    command.send_signal(number)
    command.communicate(timeout=30)

    assert command.returncode == (-number if number == signal.SIGKILL else 0)
    assert processes
    deadline = time.monotonic() + 15
    while any(is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "every process ends"
        pause()


def test_two_systems_live_side_by_side(running: System) -> None:
    other = System(type(running.home)(running.home.folder / "second"), free_port_base())
    try:
        started = other.up()
        assert started.code == 0, started.errors
        assert not set(other.state.addresses.values()) & set(running.state.addresses.values())
    finally:
        other.command("down")


def test_a_service_that_cannot_start_stays_down_with_its_reason(running: System) -> None:
    running.command("down")
    data = running.home.data_dir("gas")
    data.rename(data.with_name("kept"))
    data.mkdir()
    (data / "gas.db").write_text("this is not a database")
    try:
        done = running.up()
    finally:
        running.command("down")
        shutil.rmtree(data)
        data.with_name("kept").rename(data)

    assert done.code == 3
    error = done.document["error"]
    assert error["reason"] == "SERVICE_FAILED"
    assert "file is not a database" in error["message"]


@pytest.mark.parametrize("service", SERVICES, ids=SERVICE_NAMES)
def test_a_service_can_be_started_alone(running: System, service: Service) -> None:
    settings = environment(running.home, service, running.port_base)

    done = subprocess.run(
        [sys.executable, "-m", service.name, "--check"],
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251  # the environment of a child process
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
