"""Tests that mypy understands actions, and finds wrong uses of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cli.authoring.scaffold import scaffold

ROOT = Path(__file__).resolve().parents[2]

RIGHT = """
from typing import Annotated, assert_type

from actionvm_sdk import Action, Call, Context, Field, Passage, action


@action(capabilities=["web.get"])
def score(ctx: Context, topic: Annotated[str, Field("a topic")], limit: int = 5) -> float:
    \"\"\"Score a topic.\"\"\"
    return len(ctx.http.get(topic, query={"n": limit}).text) / limit


@action
def plain(ctx: Context) -> list[str]:
    assert_type(score(ctx, "eth", limit=2), float)
    assert_type(ctx.knowledge.search("x"), list[Passage])
    ctx.gather(Call("a.b", {"c": 1}), return_exceptions=True)
    return [ctx.llm("hi", tokens_max=3)]


@action(name="other")
async def later(ctx: Context, *, tags: dict[str, int]) -> None: ...


made: Action[[], list[str]] = plain
"""
# Each line with what mypy calls its error.
WRONG = """
from actionvm_sdk import Call, Context, action

@action(capabilities=["web.get"])
def score(ctx: Context, topic: str, limit: int = 5) -> float:
    ctx.http.get(3)  # arg-type
    ctx.http.get("u", json={})  # call-arg
    ctx.htpp.get("u")  # attr-defined
    ctx.llm("hi", max_tokens=3)  # call-arg
    ctx.knowledge.search("x")[0]["title"]  # typeddict-item
    ctx.gather("a.b")  # arg-type
    Call("a.b")  # call-arg
    return "much"  # return-value

def use(ctx: Context) -> None:
    score(ctx)  # call-arg
    score(ctx, 3)  # arg-type
    score(ctx, "eth", limti=3)  # call-arg
    score("eth")  # call-arg arg-type
    score(ctx, "eth").upper()  # attr-defined

@action(capabilities="web.get")  # call-overload untyped-decorator
def text(ctx: Context) -> None: ...

@action(["web.get"])  # call-overload untyped-decorator
def listed(ctx: Context) -> None: ...

@action  # arg-type
def lost() -> None: ...

@action(capabilities=[])  # arg-type
def first(topic: str) -> None: ...
"""


def check(folder: Path, name: str, text: str) -> set[tuple[int, str]]:
    """Return line and code of all that mypy finds in a text, and in the SDK."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    done = subprocess.run(
        [*command, str(path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"MYPYPATH": str(ROOT / "sdk"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode in {0, 1}, done.stderr
    found = re.findall(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert {file for file, _, _ in found} <= {path.name}, done.stdout
    assert done.stdout.count(": error: ") == len(found), done.stdout
    return {(int(line), code) for _, line, code in found}


def test_right_uses_have_their_types(tmp_path: Path) -> None:
    assert check(tmp_path, "right", RIGHT) == set()


def test_what_is_scaffolded_has_types(tmp_path: Path) -> None:
    assert check(tmp_path, "excerpt", scaffold("excerpt")["excerpt.py"]) == set()


def test_each_wrong_use_is_found(tmp_path: Path) -> None:
    expected = {
        (number, code)
        for number, line in enumerate(WRONG.splitlines(), start=1)
        for code in line.partition("  # ")[2].split()
    }

    assert check(tmp_path, "wrong", WRONG) == expected
