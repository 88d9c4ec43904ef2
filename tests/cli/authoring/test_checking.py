"""Tests of `actionvm action new` and `check`, with the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

from .conftest import Write


def test_a_new_action_can_be_checked(invoke: Invoke, tmp_path: Path) -> None:
    made = invoke("action", "new", "excerpt", "--folder", str(tmp_path / "actions"), "--json")
    source, test = json.loads(made.stdout)["files"]
    checked = invoke("action", "check", source)

    assert test == str(tmp_path / "actions/excerpt.test.yaml")
    assert checked.exit_code == 0, checked.output
    row = checked.stdout.splitlines()[1]
    assert row.startswith("excerpt  Return the first words of a page, without its markup.")
    assert "words_max: int (1…1000) = 50" in checked.stdout
    assert "web.get" in row


@pytest.mark.parametrize("name", ["excerpt.py", "excerpt.test.yaml"])
def test_nothing_is_overwritten(invoke: Invoke, write: Write, name: str) -> None:
    path = write(name, "mine")

    made = invoke("action", "new", "excerpt", "--folder", str(path.parent))

    assert made.exit_code == 2
    assert "FILE_EXISTS" in made.stderr
    assert path.read_text() == "mine"
    assert [*path.parent.glob("excerpt*")] == [path]


@pytest.mark.parametrize("name", ["my-score", "json", "def", "", "../a", "ä", "Score"])
def test_a_name_that_no_module_can_have_is_refused(
    invoke: Invoke, tmp_path: Path, name: str
) -> None:
    made = invoke("action", "new", name, "--folder", str(tmp_path / "actions"))

    assert made.exit_code == 2
    assert not (tmp_path / "actions").exists()


def test_all_that_is_wrong_is_shown_with_line_caret_and_way_out(
    invoke: Invoke, write: Write
) -> None:
    path = write("score.py", "x = 'ä'; import requests\nif x:\n    from jsn import loads\n")

    checked = invoke("action", "check", str(path))

    assert checked.exit_code == 2
    lines = checked.stdout.splitlines()
    assert lines[0].startswith(f"{path}:1:10: error IMPORT_NOT_FOUND there is no module requests")
    assert "ctx.http" in lines[0]
    assert lines[1:3] == ["    x = 'ä'; import requests", "             ^"]
    assert lines[3].startswith(f"{path}:3:5: error IMPORT_NOT_FOUND there is no module jsn")
    assert "did you mean json?" in lines[3]
    assert lines[4:6] == ["    from jsn import loads", "    ^"]
    assert "xml.etree.ElementTree" in lines[-2]
    assert lines[-1] == "score.py: 2 errors"


def test_a_syntax_error_is_told_as_json(invoke: Invoke, write: Write) -> None:
    path = write("score.py", "def f(:\n")

    checked = invoke("action", "check", str(path), "--json")

    assert checked.exit_code == 2
    found = json.loads(checked.stdout)
    assert found["valid"] is False
    (problem,) = found["problems"]
    assert (problem["code"], problem["line"], problem["column"]) == ("SYNTAX_INVALID", 1, 7)


def test_a_file_without_an_action_is_refused(invoke: Invoke, write: Write) -> None:
    checked = invoke("action", "check", str(write("score.py", "x = 1\n")))

    assert checked.exit_code == 2
    assert "ACTION_MISSING" in checked.stdout


def test_a_package_of_python_comes_along(invoke: Invoke, write: Write) -> None:
    path = write(
        "score.py",
        """
        from actionvm_sdk import Context, action
        from textkit import count

        @action
        def score(ctx: Context, tags: dict[str, list[float]], kind: bool | None = None) -> int:
            return count(tags)
        """,
    )
    write("textkit/__init__.py", "count = len\n")
    arguments = ("action", "check", str(path), "--packages", str(path.parent / "textkit"))

    assert "--packages FOLDER/textkit" in invoke(*arguments[:3]).stdout
    found = invoke(*arguments)
    assert found.exit_code == 0, found.output
    assert "tags: dict[str, list[float]]" in found.stdout
    assert "kind: bool | None = None" in found.stdout


def test_a_file_that_is_not_there_is_told_as_everywhere(invoke: Invoke, tmp_path: Path) -> None:
    checked = invoke("action", "check", str(tmp_path / "score.py"), "--json")

    assert checked.exit_code == 2
    assert json.loads(checked.stdout)["error"]["reason"] == "FILE_UNUSABLE"


@pytest.mark.parametrize(
    "forged",
    [
        {"parameters_schema": {"type": "object", "properties": {"x": {"pattern": "(a+)+$"}}}},
        {"parameters_schema": {"type": "object", "properties": {}, "required": 7}},
        {"output_schema": {"type": "many"}},
    ],
)
def test_code_that_forges_its_schema_is_refused(
    invoke: Invoke, write: Write, forged: dict[str, object]
) -> None:
    schemas = {"parameters_schema": {"type": "object", "properties": {}}, "output_schema": {}}
    told = {"name": "act", "description": "", "capabilities": [], "line": 1} | schemas | forged
    path = write(
        "forged.py",
        f"""
        from actionvm_sdk import Context, action, actions

        @action
        def act(ctx: Context): ...

        actions.Action.describe = lambda self: {told}
        """,
    )

    for command in (("check", str(path)), ("run", str(path), "act")):
        done = invoke("action", *command)

        assert done.exit_code == 2, done.output
        assert "a schema of act is not taken" in done.output
