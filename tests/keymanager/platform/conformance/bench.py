"""What the suite needs of a platform under test, and the bench of the soft one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from keymanager.platform.port import Platform
from keymanager.platform.soft import SoftPlatform
from platformd.client import Connection

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Identity:
    """What a process is, in words of the tests."""

    role: str = "keymanager"
    code: str = "release 2"
    signer: str = "us"
    security_version: int = 2
    debug: bool = False


class Bench(Protocol):
    """A platform that can be killed, and a process that can become another one."""

    def become(self, identity: Identity) -> Platform:
        """Return the platform as such a process sees it."""

    def crash(self) -> None:
        """Kill the platform with -9, and start it again."""

    def other(self) -> Bench:
        """Return another platform."""

    def close(self) -> None:
        """Stop everything."""


class SoftBench:
    """The real platformd as a process, told what its callers are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(exist_ok=True)
        self._written = folder / "measurement.json"
        self._socket = folder / "socket"
        self._others: list[SoftBench] = []
        self._platforms: list[SoftPlatform] = []
        self._start()

    def become(self, identity: Identity) -> Platform:
        """Return the platform as such a process sees it."""
        self._written.write_text(json.dumps(asdict(identity)))
        platform = SoftPlatform(self._connect, random_bytes=os.urandom, pause=Event().wait)
        self._platforms.append(platform)
        # It is measured when it connects.
        platform.measure()
        return platform

    def crash(self) -> None:
        """Kill platformd with -9, and start it again."""
        self._process.kill()
        self._process.wait()
        self._start()

    def other(self) -> Bench:
        """Return another platform."""
        made = SoftBench(self._folder / "other")
        self._others.append(made)
        return made

    def close(self) -> None:
        """Stop everything."""
        self._process.kill()
        self._process.wait()
        for platform in self._platforms:
            platform.close()
        for bench in self._others:
            bench.close()

    def _start(self) -> None:
        module = "tests.keymanager.platform.measured_platformd"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(self._written)],
            cwd=ROOT,
            env={
                "PLATFORMD_SOCKET": str(self._socket),
                "PLATFORMD_DATA_DIR": str(self._folder / "data"),
            },
        )

    def _connect(self) -> Connection:
        return Connection(self._socket, timeout_seconds=30)
