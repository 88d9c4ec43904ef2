"""The real platformd, but for a measurement that a test writes down."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from platformd.__main__ import open_desk, read_settings, serve
from platformd.measure import Measurement
from platformd.memory import Memory
from platformd.process import Process


class WrittenMeasurer:
    """Says of everybody what is written in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def measure(self, _process: Process, _vouched: str) -> Measurement:
        """Read the file."""
        written = json.loads(self._path.read_text())
        return Measurement(
            role=written["role"],
            code=hashlib.sha256(written["code"].encode()).digest(),
            signer=hashlib.sha256(written["signer"].encode()).digest(),
            security_version=written["security_version"],
            debug=written["debug"],
        )

    def warm(self) -> None:
        """There is nothing to read."""


def main() -> None:
    """Serve like platformd."""
    settings = read_settings(os.environ)  # noqa: TID251  # a process of its own
    root, desk = open_desk(settings)
    memory = Memory(settings.data_dir / "memory", root, time.time_ns)
    serve(settings, desk, WrittenMeasurer(Path(sys.argv[1])), memory)


if __name__ == "__main__":
    main()
