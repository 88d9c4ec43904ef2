"""Builds the runner of code: CPython and the SDK as a component, compiled for this machine.

`bin/setup` calls it; it takes half a minute, once. What is compiled is native code that is mapped
and executed, so it never comes from anywhere but this program.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import wasmtime
from wasmtime.component import Component

from .guest import OBJECTS_MARK
from .immortal import immortalized
from .machine import configure

_ROOT = Path(__file__).resolve().parent.parent
_GUEST = Path(__file__).resolve().parent / "guest"
_APP = "from guest.runner import WitWorld as WitWorld\nimport guest.snapshot\n"


def build(output: Path) -> None:
    """Write the compiled runner; it is there as a whole, or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        component = _componentize(Path(folder))
        engine = wasmtime.Engine(configure())
        compiled = Path(folder) / "runner.cwasm"
        wasm = immortalized(component.read_bytes(), OBJECTS_MARK)
        compiled.write_bytes(Component(engine, wasm).serialize())
        compiled.rename(output)


def _componentize(folder: Path) -> Path:
    app = folder / "app"
    shutil.copytree(_GUEST, app / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        _ROOT / "sdk" / "actionvm_sdk",
        app / "actionvm_sdk",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (app / "runner_app.py").write_text(_APP)
    component = folder / "runner.wasm"
    command = ["componentize-py", "-q", "-d", str(_GUEST / "runner.wit"), "-w", "runner"]
    program = Path(sys.executable).parent / command[0]
    subprocess.run(
        [
            *(str(program), *command[1:]),
            *("componentize", "-p", str(app), "runner_app", "-o", str(component)),
        ],
        check=True,
        # Nothing of the caller's environment becomes a part of the snapshot.
        env={"PATH": "/usr/bin:/bin"},
    )
    return component


if __name__ == "__main__":
    build(Path(sys.argv[1]))
