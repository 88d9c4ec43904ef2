"""Reads the files of an action: its own, and those of the packages that come along."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.guest.stdlib import MODULES
from sandbox.ports import Code

from ..errors import CommandError
from ..manifest import read_limited

SOURCE_BYTES_MAX = 256 * 1024
FILES_MAX = 128
# All files together.
CODE_BYTES_MAX = 512 * 1024
# Endings of what is compiled for a machine.
_NATIVE = frozenset({".so", ".pyd", ".dylib", ".dll"})
_TAKEN = frozenset({"actionvm_sdk", *(name.partition(".")[0] for name in MODULES)})


@dataclass(frozen=True)
class Authored:
    """Code, and where each of its files lies."""

    code: Code
    paths: Mapping[str, Path]


def read_authored(file: Path, packages: Sequence[Path]) -> Authored:
    """Read a file with packages; raise `CommandError` and `OSError`."""
    paths = {file.name: file}
    _require_name(file, file.stem if file.suffix == ".py" else "", what="FILE")
    for package in packages:
        _require_name(package, package.resolve().name, what="--packages")
        for path in _modules(package):
            name = f"{package.resolve().name}/{path.relative_to(package).as_posix()}"
            if name in paths:
                raise _invalid(f"{name} comes twice", "--packages", "name each package once")
            paths[name] = path
            if len(paths) > FILES_MAX:
                told = f"{package} has more files than fit: {FILES_MAX} for an action"
                raise _invalid(told, "--packages", "bundle what the action uses only")
    files = {name: _read(path, name) for name, path in paths.items()}
    size = sum(len(text.encode()) for text in files.values())
    if size > CODE_BYTES_MAX:
        told = f"the files have {size} bytes; at most {CODE_BYTES_MAX} are allowed"
        raise _invalid(told, "--packages", "bundle what the action uses only")
    return Authored(Code(file.name, files), paths)


def require_module_name(name: str, *, field: str) -> None:
    """Refuse a name that no module of an action can have."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        told = f"{name!r} is no name of a module"
        raise _invalid(told, field, "use letters, digits and _, such as score_topics")
    if name in _TAKEN:
        told = f"{name} is a module of Python or the SDK, which it would hide"
        raise _invalid(told, field, "give it another name")


def _require_name(path: Path, name: str, *, what: str) -> None:
    if not name:
        raise _invalid(f"{path} is no file of Python", what, "name a file that ends in .py")
    require_module_name(name, field=what)


def _modules(package: Path) -> Iterator[Path]:
    """Yield the files of a package in their order."""
    if not (package / "__init__.py").is_file():
        told = f"{package} is no package: it has no __init__.py"
        raise _invalid(told, "--packages", "name the folder that has it")
    root = package.resolve()
    for path in sorted(package.rglob("*")):
        if path.suffix in _NATIVE:
            told = f"{path} is compiled for a machine; only packages of Python itself fit"
            raise _invalid(told, "--packages", "use a package without native code")
        if path.suffix != ".py" or not path.is_file():
            continue
        if not path.resolve().is_relative_to(root):
            told = f"{path} is a link that leads out of its package"
            raise _invalid(told, "--packages", "copy it into the package")
        yield path


def _read(path: Path, name: str) -> str:
    content = read_limited(path, SOURCE_BYTES_MAX, what=name, field="FILE")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(f"{path} is not UTF-8 text", "FILE", "save it as UTF-8") from error


def _invalid(message: str, field: str, fix: str) -> CommandError:
    return CommandError(message, reason="FILE_INVALID", field=field, fix=fix)
