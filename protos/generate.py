"""Generates the Python package `actionvm/` from the contracts in this folder.

`python protos/generate.py` replaces the package; with `--check` it only says whether the package
is what the contracts give. Everything needed is in the environment: it works without a network.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGE = PROTOS.parent / "actionvm"


def main(arguments: list[str]) -> int:
    """Generate, or compare, and return the exit code."""
    assert arguments in ([], ["--check"]), "usage: generate.py [--check]"
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        if arguments == ["--check"]:
            stale = sorted(_contents(generated).items() ^ _contents(PACKAGE).items())
            for path in sorted({path for path, _ in stale}):
                print(f"actionvm/{path} is not what protos/ gives: run 'make protos'")
            return 1 if stale else 0
        # Only now: a contract with an error leaves the old package as it is.
        shutil.rmtree(PACKAGE, ignore_errors=True)
        shutil.copytree(generated, PACKAGE)
    return 0


def generate(folder: Path) -> Path:
    """Compile all contracts below `folder` and return the package."""
    files = sorted(PROTOS.rglob("*.proto"))
    services = [file for file in files if re.search("^service ", file.read_text(), re.MULTILINE)]
    _compile(files, [f"--python_out={folder}", f"--mypy_out=quiet:{folder}"])
    _compile(services, [f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}"])
    package = folder / PACKAGE.name
    # Without these, a regular package of the same name later on the path would win over ours.
    for directory in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (directory / "__init__.py").touch()
    return package


def _compile(files: list[Path], outputs: list[str]) -> None:
    plugins = Path(sys.executable).parent
    command = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={resources.files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *map(str, files),
    ]
    if protoc.main(command) != 0:
        sys.exit("the contracts do not compile: see above")


def _contents(package: Path) -> dict[str, bytes]:
    files = (path for path in package.rglob("*.py*") if path.suffix in {".py", ".pyi"})
    return {str(path.relative_to(package)): path.read_bytes() for path in files}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
