"""A process of a service leaves no core file, however it crashes."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.services import ROOT

PATTERN = Path("/proc/sys/kernel/core_pattern")


def _crash(folder: Path, program: str) -> list[Path]:
    """Crash with leave to write a core file of any size; return what lies there then."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    before = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard})); "
    ended = subprocess.run(
        [sys.executable, "-c", before + program],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ended.returncode == -signal.SIGABRT
    return list(folder.iterdir())


def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    program = "import os, chassis.server as it; it.forbid_core_files(); os.abort()"
    assert not _crash(tmp_path, program)


@pytest.mark.skipif("/" in PATTERN.read_text(), reason="core files do not lie where it crashed")
def test_without_this_it_would_leave_one(tmp_path: Path) -> None:
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("nobody here may write a core file")
    assert _crash(tmp_path, "import os; os.abort()")


@pytest.mark.parametrize("hard", [0, 1, 4096])
def test_a_limit_of_whoever_started_it_is_not_raised(tmp_path: Path, hard: int) -> None:
    program = (
        f"import resource as r, chassis.server; r.setrlimit(r.RLIMIT_CORE, ({hard}, {hard})); "
        "chassis.server.forbid_core_files(); print(r.getrlimit(r.RLIMIT_CORE))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"({min(1, hard)}, {min(1, hard)})\n"
