"""The commands that write actions in Python: action new, check."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sandbox.outcome import Described, Examined

from ..authoring.flaws import problems_of, render_problems
from ..authoring.scaffold import scaffold
from ..authoring.signatures import parameter_lines, type_text
from ..authoring.sources import Authored, read_authored, require_module_name
from ..authoring.workbench import open_sandbox
from ..command import AsJson, Command, group
from ..errors import CommandError, ExitCode
from ..output import clean, console, print_json, spelled, table

app = group("Write actions in Python, and try them in the sandbox of this machine.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as score_topics.")]
Folder = Annotated[Path, typer.Option("--folder", help="Where the files are written.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The action, such as actions/score.py.")]
Packages = Annotated[
    list[Path] | None,
    typer.Option("--packages", metavar="FOLDER", help="A package of Python that comes along."),
]


@app.callback()
def action() -> None:
    """Write actions in Python, and try them in the sandbox of this machine."""


@app.command("new", cls=Command)
def new(name: Name, *, folder: Folder = Path("actions"), as_json: AsJson = False) -> None:
    """Write an action that runs, and its test, to go on from. Nothing is overwritten.

    Example: actionvm action new excerpt
    """
    require_module_name(name, field="NAME")
    paths = {folder / file: text for file, text in scaffold(name).items()}
    for path in paths:
        if path.exists():
            raise CommandError(
                f"{path} is there already",
                reason="FILE_EXISTS",
                field="NAME",
                fix="choose another name, or another --folder",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    if as_json:
        print_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        console().print(f"written: {clean(str(path))}")
    source = clean(str(folder / f"{name}.py"))
    console().print(spelled(f"try it: actionvm action test {source}"))


@app.command("check", cls=Command)
def check(file: File, *, packages: Packages = None, as_json: AsJson = False) -> None:
    """Compile a file in the sandbox, and show its actions, or all that is wrong with it.

    Example: actionvm action check actions/excerpt.py
    """
    authored = read_authored(file, packages or ())
    examined = asyncio.run(_examine(authored))
    problems = problems_of(authored, examined)
    if as_json:
        found = [asdict(one) for one in examined.actions]
        told = [asdict(one) for one in problems]
        print_json({"valid": not problems, "actions": found, "problems": told})
    elif problems:
        console().print(render_problems(authored, problems))
        count = f"{len(problems)} error{'s' if len(problems) > 1 else ''}"
        console().print(f"{clean(file.name)}: {count}")
    else:
        columns = ("action", "description", "parameters", "result", "capabilities")
        console().print(table(*columns, rows=map(_row, examined.actions)))
    if problems:
        raise typer.Exit(ExitCode.BAD_INPUT)


async def _examine(authored: Authored) -> Examined:
    async with open_sandbox() as sandbox:
        return await sandbox.examine(authored.code)


def _row(one: Described) -> tuple[str, ...]:
    return (
        one.name,
        one.description.partition("\n")[0],
        "\n".join(parameter_lines(one.parameters_schema)),
        type_text(one.output_schema),
        "\n".join(one.capabilities),
    )
