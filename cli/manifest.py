"""What is sent of an agent: its manifest and the files that it names, within limits."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from .errors import CommandError

# The limits of the assembler's contract: refused here, a large file does not travel first.
MANIFEST_BYTES_MAX = 1024 * 1024
FILE_BYTES_MAX = 1024 * 1024
FILES_MAX = 256
FILES_BYTES_MAX = 32 * 1024 * 1024
# A bundle is at most 1 MiB; as JSON with base64 it is half as long again.
BUNDLE_BYTES_MAX = 2 * 1024 * 1024
PARAMETERS_BYTES_MAX = 64 * 1024
INPUT_BYTES_MAX = 64 * 1024

# In the words of the assembler, which would say the same.
SMALLER = (
    "move what is large into documents, or documents into knowledge storage with "
    "'actionvm knowledge add'"
)


@dataclass(frozen=True)
class SourceFile:
    """A file beside the manifest; `path` is relative to it, with slashes."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Source:
    """A manifest with the files that it refers to."""

    file: str
    content: bytes
    files: tuple[SourceFile, ...]


def read_source(path: Path) -> Source:
    """Read a manifest, its documents and its code.

    What does not parse, and files that do not exist or may not be named, are left for the assembler
    to report: it knows line and column.
    """
    content = read_limited(
        path,
        MANIFEST_BYTES_MAX,
        what="manifest.content",
        field="manifest.content",
        reason="MANIFEST_TOO_LARGE",
        fix=SMALLER,
    )
    folder = path.parent
    files: list[SourceFile] = []
    root = _parse(content)
    modules = (module for name in sorted({*_packages(root)}) for module in _modules(folder, name))
    # More of them are refused without being counted.
    names = {*_documents(root), *_sources(root), *itertools.islice(modules, FILES_MAX + 1)}
    for name in sorted(names):
        found = _locate(folder, name)
        if found is not None and found.is_file():
            text = read_limited(found, FILE_BYTES_MAX, what=name, field="manifest.files")
            files.append(SourceFile(name, text))
    if len(files) > FILES_MAX:
        raise _too_large(f"has a length of {len(files)}; at most {FILES_MAX}")
    size = sum(len(file.content) for file in files)
    if size > FILES_BYTES_MAX:
        raise _too_large(f"has {size} bytes; at most {FILES_BYTES_MAX}")
    return Source(path.name, content, tuple(files))


def read_limited(
    path: Path,
    size_max: int,
    *,
    what: str,
    field: str,
    reason: str = "FILE_TOO_LARGE",
    fix: str = "check that it is the file that you mean",
) -> bytes:
    """Read a file, unless it is too large to be meant; raise `OSError` if it cannot be read."""
    size = path.stat().st_size
    if size > size_max:
        raise CommandError(
            f"{what} has {size} bytes; at most {size_max} are allowed",
            reason=reason,
            field=field,
            fix=fix,
        )
    return path.read_bytes()


def parse_settings(settings: Sequence[str]) -> str:
    """Return `k=v` pairs as a JSON object; a value that is JSON keeps its type, else it is text."""
    values: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise CommandError(
                f"--set {setting} is not of the form key=value",
                reason="INVALID_FIELD",
                field="--set",
                fix="such as --set board_url=http://127.0.0.1:7480",
            )
        try:
            values[key] = json.loads(value)
        except ValueError:
            values[key] = value
    text = json.dumps(values) if values else ""
    if len(text.encode()) > PARAMETERS_BYTES_MAX:
        raise CommandError(
            f"the settings have more than {PARAMETERS_BYTES_MAX} bytes",
            reason="INVALID_FIELD",
            field="--set",
        )
    return text


def parse_input(text: str, *, field: str = "--input") -> str:
    """Return an input as JSON text: JSON as it is, `@file` by its content, anything else quoted."""
    if text.startswith("@"):
        content = read_limited(Path(text[1:]), INPUT_BYTES_MAX, what=text, field=field)
        text = content.decode(errors="replace")
    try:
        json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise CommandError(
                f"the input looks like JSON and is none: {error}",
                reason="INVALID_FIELD",
                field=field,
                fix=f"""quote it for the shell, such as {field} '{{"topic": "ether"}}'""",
            ) from error
        text = json.dumps(text) if text else ""
    if len(text.encode()) > INPUT_BYTES_MAX:
        raise CommandError(
            f"the input has {len(text.encode())} bytes; at most {INPUT_BYTES_MAX} are allowed",
            reason="INVALID_FIELD",
            field=field,
            fix="put long texts into a document of spec.knowledge",
        )
    return text


def _parse(content: bytes) -> yaml.Node | None:
    """Return a manifest that may name files; None for all others, which the assembler reads."""
    if b"documents" not in content and b"source" not in content:
        return None
    try:
        # Nodes, not values: references are not expanded. The pure Python loader: it stops at deep
        # nesting instead of crashing.
        return yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _sources(root: yaml.Node | None) -> Iterator[str]:
    """Yield every text in spec.actions[].source."""
    for action in _listed(_get(_get(root, "spec"), "actions")):
        source = _get(action, "source")
        if isinstance(source, yaml.ScalarNode):
            yield source.value


def _packages(root: yaml.Node | None) -> Iterator[str]:
    """Yield every text in spec.actions[].packages."""
    for action in _listed(_get(_get(root, "spec"), "actions")):
        for package in _listed(_get(action, "packages")):
            if isinstance(package, yaml.ScalarNode):
                yield package.value


def _modules(folder: Path, package: str) -> Iterator[str]:
    """Yield the Python files below a folder that a manifest names, as it would name them."""
    found = _locate(folder, package)
    if found is None or not found.is_dir():
        return
    for parent, folders, files in os.walk(found):
        # In the same order everywhere.
        folders.sort()
        below = PurePosixPath(package, Path(parent).relative_to(found).as_posix())
        for name in folders:
            if Path(parent, name).is_symlink():
                raise _outside(str(below / name), "is a link to a folder")
        for name in sorted(files):
            if name.endswith(".py") and name.isprintable():
                yield str(below / name)


def _documents(root: yaml.Node | None) -> Iterator[str]:
    """Yield every text in spec.knowledge.*.documents, whatever else is wrong with the manifest."""
    for segment in _mapped(_get(_get(root, "spec"), "knowledge")):
        for collection in _listed(segment):
            for document in _listed(_get(collection, "documents")):
                if isinstance(document, yaml.ScalarNode):
                    yield document.value


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _mapped(node: yaml.Node | None) -> list[yaml.Node]:
    return [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []


def _listed(node: yaml.Node | None) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _locate(folder: Path, name: str) -> Path | None:
    """Return what a manifest names, if there is such; read nothing outside its folder."""
    try:
        if PurePosixPath(name).as_posix() != name or name.startswith("/") or ".." in name:
            return None
        path = (folder / name).resolve()
        if not path.exists():
            return None
    except (OSError, ValueError):
        # No file can have this name.
        return None
    if not path.is_relative_to(folder.resolve()):
        raise _outside(name, "is a link that leads out of the folder of the manifest")
    return path


def _outside(name: str, problem: str) -> CommandError:
    return CommandError(
        f"{name} {problem}",
        reason="FILE_OUTSIDE",
        field="manifest.files",
        fix="copy it beside the manifest, so that the agent can be moved as one folder",
    )


def _too_large(problem: str) -> CommandError:
    return CommandError(
        f"manifest.files {problem} are allowed",
        reason="MANIFEST_TOO_LARGE",
        field="manifest.files",
        fix=SMALLER,
    )
