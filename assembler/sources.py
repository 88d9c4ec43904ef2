"""Finds the files that the code of an action is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import sandbox.ports
from chassis.draft import Draft, FieldPath, format_path
from chassis.problems import Flaw, Problem, Severity, clip
from sandbox.guest import stdlib

from .problems import Code

# As the runtime has them.
CODE_FILES_MAX = 128
CODE_BYTES_MAX = 512 * 1024
SANDBOX_MODULES = tuple(sorted({"actionvm_sdk", *stdlib.MODULES}))
_BESIDE = "Check the path; it is relative to the folder of the manifest."


@dataclass(frozen=True)
class Sources:
    """The files of an action as its code sees them, and where each lies beside the manifest."""

    code: sandbox.ports.Executable
    paths: Mapping[str, str]

    def text(self, file: str) -> str:
        """Return what is in a file, if it is text."""
        return self.code.files[file] if isinstance(self.code, sandbox.ports.Code) else ""


def find_sources(draft: Draft, action: FieldPath, files: Mapping[str, bytes]) -> Sources | None:
    """Return the files that an action names; None if one is missing, or cannot be read."""
    source = (*action, "source")
    main = draft.text(source)
    if main not in files:
        message = f"there is no file `{clip(main)}`"
        draft.report(source, Code.CODE_NOT_FOUND, message, fix=_BESIDE)
    if main.endswith(".wasm"):
        return _find_component(draft, action, main, files)
    paths = {main: main}
    for package in draft.items((*action, "packages")):
        for path, beside in _modules(draft, package, files):
            if paths.setdefault(path, beside) != beside:
                message = f"`{clip(path)}` is also in `{clip(paths[path])}`"
                fix = "Give one of them another name."
                draft.report(package, Flaw.DUPLICATE_ITEM, message, fix=fix)
    _check_size(draft, source, [files[path] for path in paths.values() if path in files])
    texts = {
        path: text
        for path, beside in paths.items()
        if (text := _text(draft, source, beside, files.get(beside, b""))) is not None
    }
    is_whole = draft.text(source) and len(texts) == len(paths)
    return Sources(sandbox.ports.Code(main, texts), paths) if is_whole else None


def _find_component(
    draft: Draft, action: FieldPath, main: str, files: Mapping[str, bytes]
) -> Sources | None:
    source = (*action, "source")
    for package in draft.items((*action, "packages")):
        message = "is for code in Python, and this is a component"
        draft.report(package, Flaw.CONTRADICTION, message, fix="Link into it what it needs.")
    wasm = files.get(main)
    if wasm == b"":
        fix = "Build it again."
        draft.report(source, Code.CODE_MALFORMED, "is an empty file", fix=fix)
    if not wasm:
        return None
    _check_size(draft, source, [wasm])
    if len(wasm) > CODE_BYTES_MAX:
        return None
    return Sources(sandbox.ports.Component(wasm, main), {main: main})


def _modules(
    draft: Draft, package: FieldPath, files: Mapping[str, bytes]
) -> Iterator[tuple[str, str]]:
    """Yield the files of a package, as code imports them and as they lie beside the manifest."""
    folder = draft.text(package)
    if not folder:
        return
    name, inside = PurePosixPath(folder).name, f"{folder}/"
    found = sorted(path for path in files if path.startswith(inside) and path.endswith(".py"))
    problem, fix = "", "Rename the folder."
    if not found:
        problem, fix = "there are no Python files in it", _BESIDE
    elif f"{inside}__init__.py" not in files:
        problem, fix = "it has no `__init__.py`", "Add one; it may be empty."
    elif not name.isidentifier():
        problem = f"`{clip(name)}` is no name that Python could import"
    elif name in {module.partition(".")[0] for module in SANDBOX_MODULES}:
        problem = f"`{name}` is there already, and would be imported instead"
    if problem:
        code = Code.CODE_MALFORMED if found else Code.CODE_NOT_FOUND
        draft.report(package, code, f"is no package: {problem}", fix=fix)
        return
    for path in found:
        yield f"{name}/{path.removeprefix(inside)}", path


def _check_size(draft: Draft, source: FieldPath, contents: list[bytes]) -> None:
    size = sum(map(len, contents))
    for count, most, what in (
        (len(contents), CODE_FILES_MAX, "files"),
        (size, CODE_BYTES_MAX, "bytes"),
    ):
        if count > most:
            message = f"has {count} {what} with its packages; at most {most} are allowed"
            fix = "Bundle only what it imports."
            draft.report(source, Code.CODE_TOO_LARGE, message, fix=fix)


def _text(draft: Draft, source: FieldPath, path: str, content: bytes) -> str | None:
    """Return the text of a file; None if it is none."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        report_in(
            draft,
            source,
            Code.CODE_MALFORMED,
            "is not UTF-8",
            file=path,
            line=before.count("\n") + 1,
            column=len(before) - before.rfind("\n"),
            fix="Save it as UTF-8.",
        )
        return None


def report_in(
    draft: Draft,
    source: FieldPath,
    code: str,
    message: str,
    *,
    file: str,
    line: int = 1,
    column: int = 1,
    fix: str = "",
) -> None:
    """Say what is wrong with a file that an action names."""
    field = format_path(source)
    problem = Problem(Severity.ERROR, code, file, line, column, field, message, fix)
    draft.report_beside(problem)
