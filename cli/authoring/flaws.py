"""What is wrong with code, where, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.guest.stdlib import MODULES
from sandbox.outcome import Examined, Flaw
from sandbox.schemas import parameters_problem, schema_problem

from ..errors import Problem
from ..output import clean, describe_problem
from .sources import Authored

_CODES = {
    "syntax": "SYNTAX_INVALID",
    "import": "IMPORT_NOT_FOUND",
    "schema": "TYPE_NOT_JSON",
    "failed": "CODE_FAILED",
}
_WAYS_OUT = {
    "schema": "there are str, int, float, bool, None, list, dict, Literal, Enum, dataclasses and "
    "TypedDict; bytes travel as base64 text",
    "failed": "a file is executed when it is loaded, with nothing to ask for",
}
# Modules that authors look for first, and what to use instead.
_INSTEAD = {
    **dict.fromkeys(
        ("requests", "httpx", "aiohttp", "urllib3", "urllib.request", "http.client", "http"),
        "the web is asked with ctx.http",
    ),
    **dict.fromkeys(("socket", "ssl"), "there is no network; the web is asked with ctx.http"),
    **dict.fromkeys(
        ("os", "os.path", "sys", "pathlib", "shutil", "tempfile", "glob", "subprocess"),
        "there are no files, variables and processes",
    ),
    **dict.fromkeys(
        ("asyncio", "threading", "multiprocessing", "concurrent.futures", "concurrent"),
        "calls are made at once with ctx.gather",
    ),
    **dict.fromkeys(
        ("numpy", "pandas", "scipy", "pydantic", "lxml", "cryptography"),
        "it has native code, which does not run here",
    ),
    **dict.fromkeys(("openai", "anthropic"), "the model of the agent is asked with ctx.llm"),
}
_NO_ACTION = Problem(
    severity="error",
    code="ACTION_MISSING",
    file="",
    line=0,
    column=0,
    field="",
    message="it has no action",
    fix="write @action above a function; actionvm action new NAME makes an example",
)


def problems_of(authored: Authored, examined: Examined) -> tuple[Problem, ...]:
    """Return everything that keeps code from being used."""
    if not examined.flaws and not examined.actions:
        path = str(authored.paths[authored.code.main])
        return (Problem(**{**vars(_NO_ACTION), "file": path}),)
    flaws = [*examined.flaws]
    for one in examined.actions:
        told = parameters_problem(one.parameters_schema) or schema_problem(one.output_schema)
        if told:
            message = f"a schema of {one.name} is not taken: {told}"
            flaws.append(Flaw("schema", message, authored.code.main, one.line))
    return tuple(_problem(authored, flaw) for flaw in flaws)


def render_problems(authored: Authored, problems: Iterable[Problem]) -> RenderableType:
    """Return each problem with its line of the source, and the modules that there are."""
    names = {str(path): name for name, path in authored.paths.items()}
    shown: list[RenderableType] = []
    modules = False
    for problem in problems:
        shown.append(describe_problem(problem))
        modules = modules or problem.code == _CODES["import"]
        if problem.line and problem.file in names:
            shown += render_line(authored, names[problem.file], problem.line, problem.column)
    if modules:
        shown += [Text("modules that there are:", "bold"), Text(", ".join(MODULES))]
    return Group(*shown)


def render_line(authored: Authored, name: str, line: int, column: int) -> list[Text]:
    """Return a line of the source, and a caret below its column; nothing if there is no such."""
    lines = authored.code.files.get(name, "").splitlines()
    if not 1 <= line <= len(lines) or not lines[line - 1].strip():
        return []
    source = clean(lines[line - 1].expandtabs(4))
    bare = source.lstrip()
    before = lines[line - 1][: column - 1].expandtabs(4)
    caret = max(0, cell_len(before) - (len(source) - len(bare)))
    return [Text(f"    {bare}"), Text(f"    {' ' * caret}^", "bold red")]


def column_of(authored: Authored, name: str, line: int, column: int) -> int:
    """Return in characters what Python counts in bytes."""
    lines = authored.code.files.get(name, "").splitlines()
    text = lines[line - 1] if 1 <= line <= len(lines) else ""
    return len(text.encode()[: column - 1].decode(errors="ignore")) + 1


def path_of(authored: Authored, name: str) -> str:
    """Return where a file of the code lies."""
    return str(authored.paths.get(name, name))


def _problem(authored: Authored, flaw: Flaw) -> Problem:
    column = flaw.column
    if flaw.kind != "syntax":
        column = column_of(authored, flaw.file, flaw.line, flaw.column)
    is_import = flaw.kind == "import"
    return Problem(
        severity="error",
        code=_CODES.get(flaw.kind, "CODE_INVALID"),
        file=path_of(authored, flaw.file),
        line=flaw.line,
        column=column,
        field="",
        message=f"there is no module {flaw.message} here" if is_import else flaw.message,
        fix=_instead(flaw.message) if is_import else _WAYS_OUT.get(flaw.kind, ""),
    )


def _instead(module: str) -> str:
    top = module.partition(".")[0]
    if found := _INSTEAD.get(module) or _INSTEAD.get(top):
        return found
    if close := difflib.get_close_matches(module[:60], MODULES, n=1):
        return f"did you mean {close[0]}?"
    return f"a package of Python itself can be bundled: --packages FOLDER/{top}"
