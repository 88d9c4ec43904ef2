"""Starts a prisoner, in bubblewrap or without it, and hears what it tells."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.jail import Survey, command, interpreter_paths

from .attacks import door_of
from .prisoner import ALL

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60
MAIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tests.sandbox.jail.prisoner import main; main()"
)


@dataclass(frozen=True)
class Ended:
    """How a prisoner ended, and what it told."""

    code: int
    told: Any
    errors: str


def imprison(
    survey: Survey,
    layers: str,
    task: str = ALL,
    *,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    look: Callable[[int], None] | None = None,
) -> Ended:
    """Run a prisoner to its end; `descriptors` are inherited beside its socket.

    `look` is handed the number of its process, while one that is WATCHED waits.
    """
    readable = [*interpreter_paths(), ROOT / "sandbox", ROOT / "tests/sandbox/jail"]
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX) as door:
        door.bind(door_of(os.getpid()))
        door.listen()
        argv = [sys.executable, "-I", "-c", MAIN, str(ROOT), layers, str(theirs.fileno()), task]
        readable += [ROOT / "tests/__init__.py", ROOT / "tests/sandbox/__init__.py"]
        with subprocess.Popen(
            command(survey, argv, readable=readable, descriptors=[theirs.fileno()]),
            env=dict(environment or {}),
            pass_fds=[theirs.fileno(), *descriptors],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            theirs.close()
            try:
                ours.settimeout(SECONDS)
                if look is not None:
                    ours.recv(1)
                    look(process.pid)
                    ours.sendall(b"!")
                text = b"".join(iter(lambda: ours.recv(65_536), b""))
                assert process.stderr is not None, "it is a pipe"
                errors = process.stderr.read().decode()
                code = process.wait(SECONDS)
            finally:
                process.kill()
    return Ended(code, json.loads(text) if text.strip() else None, errors)
