"""The commands that write actions in Python: action new, check, test, run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chassis.canonical import Json
from chassis.problems import suggest
from sandbox.outcome import Described, Examined
from sandbox.ports import Order

from ..authoring.arguments import parse_arguments
from ..authoring.cases import START, TEST_BYTES_MAX, Case, read_answers, read_cases
from ..authoring.flaws import problems_of, render_problems
from ..authoring.scaffold import scaffold
from ..authoring.showing import cases_table, render_failure, render_trial, trial_to_json
from ..authoring.signatures import parameter_lines, type_text
from ..authoring.sources import Authored, read_authored, require_module_name
from ..authoring.trials import LIMITS, Trial, try_case, try_once
from ..authoring.workbench import find_actions, open_sandbox
from ..command import AsJson, Command, group
from ..errors import CommandError, ExitCode
from ..manifest import read_limited
from ..output import clean, console, print_json, spelled, table

app = group("Write actions in Python, and try them in the sandbox of this machine.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as score_topics.")]
Folder = Annotated[Path, typer.Option("--folder", help="Where the files are written.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The action, such as actions/score.py.")]
Packages = Annotated[
    list[Path] | None,
    typer.Option("--packages", metavar="FOLDER", help="A package of Python that comes along."),
]
Function = Annotated[str, typer.Argument(metavar="FUNCTION", help="An action of the file.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--argument", metavar="NAME=VALUE", help="What it is handed; JSON, or a text."),
]
Answers = Annotated[
    Path | None,
    typer.Option("--answers", metavar="FILE", help="Its calls in order, as in a case of a test."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**53 - 1, help="Of its dice.")]
TestOption = Annotated[
    Path | None, typer.Option("--cases", metavar="FILE", help="The test; else FILE.test.yaml.")
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
    if name != name.lower():
        raise CommandError(
            f"{name} has capitals, which no name of an action has",
            reason="INVALID_FIELD",
            field="NAME",
            fix=f"such as {name.lower()}",
        )
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


@app.command("test", cls=Command)
def run_cases(
    file: File, *, packages: Packages = None, cases: TestOption = None, as_json: AsJson = False
) -> None:
    """Execute the cases beside a file, with recorded answers: no service, no network.

    Example: actionvm action test actions/excerpt.py
    """
    authored = read_authored(file, packages or ())
    path = cases or file.with_suffix(".test.yaml")
    content = read_limited(path, TEST_BYTES_MAX, what=str(path), field="FILE")
    found, trials = asyncio.run(_try_all(authored, path, content))
    failed = [one for one in trials if one.differences]
    if as_json:
        told: list[Json] = [
            {
                "name": case.name,
                "action": case.action,
                "passed": not one.differences,
                **trial_to_json(one),
            }
            for case, one in zip(found, trials, strict=True)
        ]
        counts = {"passed": len(trials) - len(failed), "failed": len(failed)}
        print_json({"cases": told, **counts})
    else:
        console().print(cases_table(found, trials))
        for case, one in zip(found, trials, strict=True):
            if one.differences:
                console().print(render_failure(authored, case, one))
        console().print(f"{len(trials) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(ExitCode.RUN_FAILED)


@app.command("run", cls=Command)
def run(
    file: File,
    function: Function,
    *,
    arguments: Arguments = None,
    answers: Answers = None,
    packages: Packages = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Execute an action once, and show its result, its log and its fuel.

    It can call only what --answers has: 'calls:' with a list as in a test.

    Example: actionvm action run actions/score.py score --argument topic=eth
    """
    authored = read_authored(file, packages or ())
    content = b"calls: []"
    if answers:
        content = read_limited(answers, TEST_BYTES_MAX, what=str(answers), field="--answers")
    calls = read_answers(str(answers or "--answers"), content)

    async def execute() -> Trial:
        async with open_sandbox() as sandbox:
            actions = await find_actions(sandbox, authored)
            action = _named(actions, function)
            order = Order(function, parse_arguments(action, arguments or ()), seed, LIMITS)
            start = START.timestamp()
            return await try_once(
                sandbox, authored.code, order, action=action, calls=calls, start=start
            )

    trial = asyncio.run(execute())
    if as_json:
        print_json(trial_to_json(trial))
    else:
        console().print(render_trial(authored, trial))
    if trial.outcome.reason or trial.differences:
        raise typer.Exit(ExitCode.RUN_FAILED)


async def _try_all(
    authored: Authored, path: Path, content: bytes
) -> tuple[tuple[Case, ...], list[Trial]]:
    async with open_sandbox() as sandbox:
        actions = await find_actions(sandbox, authored)
        cases = read_cases(str(path), content, actions)
        return cases, [await try_case(sandbox, authored.code, actions, case) for case in cases]


def _named(actions: Mapping[str, Described], name: str) -> Described:
    if name not in actions:
        raise CommandError(
            f"the file has no action {name}",
            reason="ACTION_NOT_FOUND",
            field="FUNCTION",
            fix=suggest(name, actions),
        )
    return actions[name]


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
