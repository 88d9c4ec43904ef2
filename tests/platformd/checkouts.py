"""A small checkout with the real platformd, whose services do nothing but ask it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from platformd import protocol
from platformd.client import Connection
from platformd.measure import ROLES
from platformd.sign_release import sign_release

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
PACKAGES = ("actionvm", "chassis", "cli", "enrolment", "sandbox", *ROLES)

# A service that asks what its arguments say, and prints the answers as JSON.
PROBE = """
import json, os, sys
os.chdir('/')
from pathlib import Path
from platformd.client import Connection, Refused
from chassis import clock

connection = Connection(Path(os.environ["PROBE_SOCKET"]), timeout_seconds=20)
for request in json.loads(os.environ["PROBE_REQUESTS"]):
    try:
        print(json.dumps(connection.ask(**request)), flush=True)
    except Refused as refused:
        print(json.dumps({"refused": refused.reason}), flush=True)
"""

# A supervisor that forks a service, vouches for it as its arguments say, and waits for it.
SUPERVISOR = """
import os, sys, runpy
from pathlib import Path
from contextlib import closing
from platformd.client import Connection, Refused
from platformd.process import birth_of

def start(socket, data, role, vouch):
    settings = {"PLATFORMD_SOCKET": socket, "PLATFORMD_DATA_DIR": data}
    platform = os.fork() if vouch else 0
    if vouch and platform == 0:
        from platformd.__main__ import CHECKOUT
        code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})"
        code += "; from platformd.__main__ import main; main()"
        os.execve(sys.executable, [sys.executable, "-I", "-c", code], settings)
    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(opener)
        os.read(gate, 1)
        runpy.run_module("keymanager", run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    while vouch:
        try:
            connection = Connection(Path(socket), timeout_seconds=20)
        except OSError:
            continue
        with closing(connection):
            birth = birth_of(pid)
            connection.ask("vouch", pid=pid, start_time=birth.start_time, role=role)
        break
    os.close(opener)
    os.waitpid(pid, 0)
    if platform:
        os.kill(platform, 9)

if __name__ == "__main__":
    start(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "vouch")
"""


class Checkout:
    """A folder like the repository; `platformd` runs from it while this is entered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.data = folder / "data"
        self.socket = folder / "platformd.sock"
        self.log = folder / "log"
        self.settings: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(
            ROOT / "platformd", self.folder / "platformd", ignore=shutil.ignore_patterns("__py*")
        )
        for package in PACKAGES:
            self.write(f"{package}/__init__.py", "")
        self.write("chassis/clock.py", "hour = 'right'\n")
        self.write("keymanager/__main__.py", PROBE)
        self.write("gas/__main__.py", PROBE)
        self.write("cli/supervisor.py", SUPERVISOR)
        self.write("requirements.lock", "cryptography==50.0.2\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def write(self, name: str, content: str) -> Path:
        """Write a file of the checkout."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def start(self, *options: str) -> None:
        """Start platformd, and return when it answers."""
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PLATFORMD_SOCKET": str(self.socket),
            "PLATFORMD_DATA_DIR": str(self.data),
            **self.settings,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-m", "platformd"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
            except (FileNotFoundError, ConnectionRefusedError):
                assert self._process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, "platformd does not start"
            else:
                return

    def kill(self) -> None:
        """Kill platformd with -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def connect(self) -> Connection:
        """Return a connection, to be closed."""
        return Connection(self.socket, timeout_seconds=START_SECONDS)

    def ask(self, operation: str, **fields: protocol.Value) -> dict[str, protocol.Value]:
        """Ask as what the tests are: a process without a role."""
        with closing(self.connect()) as connection:
            return connection.ask(operation, **fields)

    def run(
        self,
        *requests: Mapping[str, protocol.Value],
        module: str = "keymanager",
        arguments: Sequence[str] = (),
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        command: Sequence[str] | None = None,
    ) -> list[dict[str, protocol.Value]]:
        """Run a service that sends these requests; return the answers."""
        done = subprocess.run(
            [*(command or [sys.executable, *options, "-m", module]), *arguments],
            cwd=folder or self.folder,
            env={
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(self.folder),
                "PYTHONSAFEPATH": "1",
                "PROBE_SOCKET": str(self.socket),
                "PROBE_REQUESTS": json.dumps(requests),
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def measure(self, **how: object) -> dict[str, protocol.Value]:
        """Return what platformd says about a service that is started like this."""
        (answer,) = self.run({"operation": "measure"}, **how)  # type: ignore[arg-type] # forwarded
        return answer

    def release(self, key: Ed25519PrivateKey, *, security_version: int) -> None:
        """Sign the checkout as it is."""
        sign_release(self.folder, key, security_version=security_version)


def derive(policy: str, *, version: int = 0, label: str = "epoch") -> dict[str, protocol.Value]:
    """Return the request for a sealing key."""
    return {
        "operation": "derive_key",
        "policy": policy,
        "label": label,
        "security_version": version,
    }
