"""What benchmarks print: one line of JSON per figure, with the machine that it was measured on."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path


def write_line(**fields: object) -> None:
    """Print a figure; the load tells how busy the machine was with other work."""
    machine = {"cpu": _cpu(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    line = {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in (fields | machine | {"python": platform.python_version()}).items()
    }
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def _cpu() -> str:
    """Return what the processor calls itself; elsewhere than on Linux, its kind."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
