"""Examples that act on fakes of services, as a person runs them: one command each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cli.services import ROOT

from .conftest import free_port_base

pytestmark = pytest.mark.system

SECONDS_MAX = 120


def run_example(name: str, home: Path, *, says: str = "") -> subprocess.CompletedProcess[str]:
    ports = free_port_base()
    settings = {"EXAMPLE_HOME": str(home), "EXAMPLE_PORTS": str(ports)}
    # Between the ports of the services and those for each other.
    settings["EXAMPLE_FAKE_PORT"] = str(ports + 8)
    return subprocess.run(
        ["sh", str(ROOT / "examples" / name / "run.sh")],
        env={**os.environ, **settings},  # noqa: TID251  # a person has one, too
        input=says,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )


def test_the_brief_is_posted_on_x_once(tmp_path: Path) -> None:
    done = run_example("x-brief", tmp_path / "home")
    assert done.returncode == 0, done.stderr + done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("X has a post")]
    _, _, text = line.partition(": ")
    note = (ROOT / "examples" / "x-brief" / "knowledge" / "ether.md").read_text()
    assert text in " ".join(note.split())
    assert f"I posted: {text}" in done.stdout


def test_a_report_can_be_read_at_its_address(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_example("s3-report", home)
    assert done.returncode == 0, done.stderr + done.stdout
    _, _, content = done.stdout.partition("what is at that address:\n")
    assert "Ether gained two percent" in content
    assert "AccessDenied" not in content
    # A second time, in the home of the first one.
    assert run_example("s3-report", home).returncode == 0


def test_a_payment_is_made_once_a_person_has_said_yes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_example("treasury", home, says="n\n")
    assert "Coinbase has paid" not in done.stdout
    done = run_example("treasury", home, says="y\n")
    assert done.returncode == 0, done.stderr + done.stdout
    [paid] = [line for line in done.stdout.splitlines() if "Coinbase has paid" in line]
    asked = done.stdout.partition("Approve?")[0]
    assert "Coinbase has paid" not in asked
    assert "10000000000000000" in asked
    assert paid.endswith("10000000000000000 wei to 0x00000000000000000000000000000000000000aa")


def test_a_notice_is_cast_on_farcaster_once(tmp_path: Path) -> None:
    done = run_example("farcaster-notice", tmp_path / "home")
    assert done.returncode == 0, done.stderr + done.stdout
    _, found, rest = done.stdout.partition("the hub has a cast, ")
    assert found
    assert "the hub has a cast" not in rest
    digest, _, text = rest.partition(": ")
    assert digest in text
    assert "ferry" in text
