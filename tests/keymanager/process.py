"""The key manager as a process of its own, for tests that kill it or read what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from actionvm.keymanager.v1 import keymanager_pb2_grpc
from tests.grpc_fixtures import _TokenInterceptor, identities_json, token_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30


class KeymanagerProcess:
    """Runs below a folder until it is killed; the next one there finds what it left."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "log"
        (folder / "identities.json").write_text(identities_json())
        self._environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "KEYMANAGER_LISTEN": "127.0.0.1:0",
            "KEYMANAGER_DATA_DIR": str(self.data),
            "KEYMANAGER_IDENTITIES_FILE": str(folder / "identities.json"),
            "KEYMANAGER_TOKEN_FILE": str(folder / "token"),
            "KEYMANAGER_TLS": "off",
            "KEYMANAGER_LOG_LEVEL": "debug",
            "KEYMANAGER_PLATFORM_SOCKET": str(folder / "platformd.sock"),
        }
        self._platform_environment = {
            "PLATFORMD_SOCKET": str(folder / "platformd.sock"),
            "PLATFORMD_DATA_DIR": str(folder / "platform"),
        }

    def __enter__(self) -> Self:
        self._start_platform()
        already_logged = self.log.read_text() if self.log.exists() else ""
        self._process = self._start()
        end = time.monotonic() + START_SECONDS
        while not (address := self._address(after=len(already_logged))):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the service did not start"
            self._wait(0.05)
        self.address = address
        self._channel = grpc.insecure_channel(address)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it with -9; nothing ends in order here."""
        self._channel.close()
        for process in (self._process, self._platform):
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def stub(self, caller: str = "operator") -> keymanager_pb2_grpc.KeymanagerServiceStub:
        """Return the stub of a caller."""
        return keymanager_pb2_grpc.KeymanagerServiceStub(self.channel(caller))

    def channel(self, caller: str = "operator") -> grpc.Channel:
        """Return the channel of a caller."""
        return grpc.intercept_channel(self._channel, _TokenInterceptor(token_of(caller)))

    def refuse_to_start(self) -> subprocess.CompletedProcess[str]:
        """Start it where it cannot serve; return how it ended."""
        self._start_platform()
        try:
            return subprocess.run(
                [sys.executable, "-m", "keymanager"],
                cwd=ROOT,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=START_SECONDS,
                check=False,
            )
        finally:
            self._platform.kill()
            self._platform.wait()

    def _start_platform(self) -> None:
        """Start the root of trust, which outlives nobody here; its files do."""
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        code += "; from platformd.__main__ import main; main()"
        with self.log.open("ab") as log:
            self._platform = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                env=self._platform_environment,
                stdout=log,
                stderr=log,
            )

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "keymanager"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def _address(self, *, after: int) -> str:
        for line in self.log.read_text()[after:].splitlines():
            if "service.started" in line and line.endswith("}"):
                return str(json.loads(line)["address"])
        return ""

    def _wait(self, seconds: float) -> None:
        """Wait, or go on at once when the process has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
