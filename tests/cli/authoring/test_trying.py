"""Tests of `actionvm action test` and `run`, with the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.services import ROOT
from tests.cli.conftest import Invoke

from .conftest import Write

SCORE = '''\
from actionvm_sdk import CallError, Context, action


@action(capabilities=["web.get", "board.post"])
def score(ctx: Context, topic: str, limit: int = 5) -> dict[str, float]:
    """Score a topic."""
    found = ctx.http.get(f"https://prices.example/{topic}").json()
    ctx.log("price", found["price"])
    try:
        ctx.service("board").post(text=topic, tags=["a"])
    except CallError as error:
        print(error.reason)
    return {"score": divide(found["price"], limit)}


def divide(price, limit):
    return price / limit
'''
TEST = """
cases:
  - name: scores
    arguments: {topic: eth, limit: 2}
    calls:
      - action: web.get
        arguments: {url: "https://prices.example/eth"}
        answer: {status: 200, json: {price: 6}}
      - {action: board.post, include: {text: eth}, refusal: {reason: DENIED}}
    result: {score: 3}
    logs: [price 6, DENIED]
"""


@pytest.fixture
def score(write: Write) -> Path:
    write("score.test.yaml", TEST)
    return write("score.py", SCORE)


def changed(score: Path, old: str, new: str) -> Path:
    path = score.with_suffix(".test.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return score


def test_a_case_that_holds_passes(invoke: Invoke, score: Path) -> None:
    tried = invoke("action", "test", str(score))

    assert tried.exit_code == 0, tried.output
    head, row, end = tried.stdout.splitlines()
    assert head.split() == ["case", "action", "calls", "fuel", "gas", "time"]
    assert row.split()[:4] == ["✓", "scores", "score", "2"]
    assert end == "1 passed, 0 failed"


def test_what_is_scaffolded_passes_its_test(invoke: Invoke, tmp_path: Path) -> None:
    invoke("action", "new", "excerpt", "--folder", str(tmp_path))

    tried = invoke("action", "test", str(tmp_path / "excerpt.py"), "--json")

    assert tried.exit_code == 0, tried.output
    found = json.loads(tried.stdout)
    assert (found["passed"], found["failed"]) == (3, 0)
    assert found["cases"][0]["result"]["text"] == "The ferry"


def test_the_example_passes_its_test(invoke: Invoke) -> None:
    folder = ROOT / "examples/scorer/actions"

    tried = invoke(
        "action", "test", str(folder / "score.py"), "--packages", str(folder / "textkit")
    )

    assert tried.exit_code == 0, tried.output
    assert tried.stdout.splitlines()[-1] == "3 passed, 0 failed"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "score: 3}",
            "score: 4}",
            [
                "  the result is different (- expected, + came)",
                '  -  "score": 4',
                '  +  "score": 3',
            ],
        ),
        ("score: 3}", "score: true}", ['  -  "score": true']),
        ("limit: 2}", "limit: 6}", ['  +  "score": 1']),
        (
            "action: web.get",
            "action: web.got",
            ["  call 1 is different (- expected, + came)", "  -action: web.got"],
        ),
        (
            "prices.example/eth",
            "prices.example/btc",
            ["  call 1 is different (- expected, + came)", "  score.py:7:13 in score"],
        ),
        ("{text: eth}", "{text: btc}", ["  call 2 is different (- expected, + came)"]),
        ("{text: eth}", "{tags: [a], none: 1}", ['  -  "none": 1,', '     "tags": [']),
        (
            "include: {text",
            "arguments: {text",
            ["  call 2 is different (- expected, + came)", '  +  "tags": ['],
        ),
        ("logs: [price 6,", "logs: [price 7,", ["  the log is different (- expected, + came)"]),
        (
            "    result: {score: 3}\n",
            "    error: {message: division}\n",
            ["  it ended differently (- expected, + came)", "  -division", "  +result: {"],
        ),
        (
            "    result",
            "      - {action: web.get, arguments: {url: x}, answer: 1}\n    result",
            [
                "  only 2 of 3 calls were made (- expected, + came)",
                '  -web.get { "url": "x" }',
            ],
        ),
    ],
)
def test_what_differs_is_shown(
    invoke: Invoke, score: Path, old: str, new: str, lines: list[str]
) -> None:
    tried = invoke("action", "test", str(changed(score, old, new)))

    assert tried.exit_code == 1, tried.output
    shown = [line.replace(f"{score.parent}/", "") for line in tried.stdout.splitlines()]
    assert [line for line in lines if line not in shown] == [], tried.stdout
    assert shown[-1] == "0 passed, 1 failed"


def test_a_failure_shows_the_lines_of_the_author_with_a_caret(invoke: Invoke, score: Path) -> None:
    tried = invoke("action", "test", str(changed(score, "limit: 2", "limit: 0")))

    assert tried.exit_code == 1
    start = tried.stdout.index(f"  {score}:13")
    assert tried.stdout[start:].splitlines()[:7] == [
        f"  {score}:13:22 in score",
        '    return {"score": divide(found["price"], limit)}',
        "                     ^",
        f"  {score}:17:12 in divide",
        "    return price / limit",
        "           ^",
        "  CODE_FAILED: ZeroDivisionError: division by zero",
    ]


def test_an_error_can_be_expected(invoke: Invoke, score: Path) -> None:
    changed(score, "limit: 2", "limit: 0")

    tried = invoke(
        "action", "test", str(changed(score, "result: {score: 3}", "error: {message: by zero}"))
    )

    assert tried.exit_code == 0, tried.output


def test_an_error_with_other_words_is_another_one(invoke: Invoke, score: Path) -> None:
    changed(score, "limit: 2", "limit: 0")

    tried = invoke(
        "action", "test", str(changed(score, "result: {score: 3}", "error: {message: by one}"))
    )

    assert tried.exit_code == 1
    assert "it ended differently" in tried.stdout


def test_true_is_not_one(invoke: Invoke, score: Path) -> None:
    changed(score, "limit: 2", "limit: 6")

    tried = invoke("action", "test", str(changed(score, "score: 3}", "score: true}")))

    assert tried.exit_code == 1
    assert '  -  "score": true' in tried.stdout.splitlines()


def test_after_a_call_that_differs_nothing_else_is_compared(invoke: Invoke, score: Path) -> None:
    tried = invoke("action", "test", str(changed(score, "example/eth", "example/btc")), "--json")

    (case,) = json.loads(tried.stdout)["cases"]
    assert [one["about"] for one in case["differences"]] == ["call 1 is different"]


def test_each_answer_takes_a_second_from_the_start_of_the_case(
    invoke: Invoke, write: Write
) -> None:
    path = write(
        "times.py",
        """
        from actionvm_sdk import Call, Context, action

        @action(capabilities=["a.b"])
        def times(ctx: Context) -> list[str]:
            start = ctx.now()
            ctx.call("a.b")
            ctx.gather(Call("a.b", {}), Call("a.b", {}))
            return [start.isoformat(), ctx.now().isoformat()]
        """,
    )
    write(
        "times.test.yaml",
        """
        cases:
          - name: tells the time
            now: 2026-03-01T10:00+01:00
            calls: [{action: a.b, answer: 1}, {action: a.b, answer: 1}, {action: a.b, answer: 1}]
            result: ["2026-03-01T09:00:00+00:00", "2026-03-01T09:00:02+00:00"]
        """,
    )

    tried = invoke("action", "test", str(path))

    assert tried.exit_code == 0, tried.output


def test_a_caret_stands_below_its_column_whatever_letters_come_before(
    invoke: Invoke, write: Write
) -> None:
    path = write(
        "umlaut.py",
        """
        from actionvm_sdk import Context, action

        @action
        def act(ctx: Context) -> int:
            name = "äöü日"; return {}[name]
        """,
    )

    ran = invoke("action", "run", str(path), "act")

    assert ran.exit_code == 1
    assert f"{path}:6:27 in act" in ran.stdout
    source, caret = ran.stdout.splitlines()[2:4]
    # The last letter is two columns wide.
    assert source.index("{}") + 1 == caret.index("^")


def test_a_call_that_was_not_declared_fails_though_it_is_expected(
    invoke: Invoke, score: Path
) -> None:
    score.write_text(SCORE.replace(', "board.post"', ""))

    tried = invoke("action", "test", str(score))

    assert tried.exit_code == 1
    assert "call 2 is of board.post, which is none of the capabilities of score" in tried.stdout


def test_a_failure_is_told_to_programs(invoke: Invoke, score: Path) -> None:
    tried = invoke("action", "test", str(changed(score, "limit: 2", "limit: 0")), "--json")

    assert tried.exit_code == 1
    (case,) = json.loads(tried.stdout)["cases"]
    assert case["passed"] is False
    assert case["failure"]["reason"] == "CODE_FAILED"
    assert [one["line"] for one in case["failure"]["frames"]] == [13, 17]
    assert case["gas"] == -(-case["fuel"] // 1_000_000)


def test_a_malformed_test_is_told_with_its_place(invoke: Invoke, score: Path) -> None:
    tried = invoke("action", "test", str(changed(score, "result", "resutl")))

    assert tried.exit_code == 2
    assert "score.test.yaml:10:5: error UNKNOWN_FIELD" in tried.stderr
    assert "(Did you mean `result`?)" in tried.stderr


def test_code_that_does_not_compile_is_not_tried(invoke: Invoke, score: Path) -> None:
    score.write_text("import requests\n")

    tried = invoke("action", "test", str(score))

    assert tried.exit_code == 2
    assert f"{score}:1:1: error IMPORT_NOT_FOUND" in tried.stderr
    assert "way out: actionvm" in tried.stderr


def test_an_action_runs_once_with_answers(invoke: Invoke, score: Path, write: Write) -> None:
    calls = TEST[TEST.index("    calls:") : TEST.index("    result")]
    answers = write("answers.yaml", calls)
    arguments = ("--argument", "topic=eth", "--argument", "limit=2", "--answers", str(answers))

    ran = invoke("action", "run", str(score), "score", *arguments)

    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[:-1] == ["log", "  price 6", "  DENIED", "result", "  {", '    "score": 3', "  }"]
    assert "fuel" in lines[-1]


def test_without_answers_the_first_call_is_shown(invoke: Invoke, score: Path) -> None:
    ran = invoke("action", "run", str(score), "score", "--argument", "topic=eth")

    assert ran.exit_code == 1
    assert "call 1 is not expected" in ran.stdout
    assert '  +  "url": "https://prices.example/eth"' in ran.stdout


def test_an_action_that_the_file_lacks_is_not_run(invoke: Invoke, score: Path) -> None:
    ran = invoke("action", "run", str(score), "scroe", "--json")

    assert ran.exit_code == 2
    error = json.loads(ran.stdout)["error"]
    assert (error["reason"], error["fix"]) == ("ACTION_NOT_FOUND", "Did you mean `score`?")


def test_dice_follow_the_seed(invoke: Invoke, write: Write) -> None:
    path = write(
        "dice.py",
        """
        import random
        from actionvm_sdk import Context, action

        @action
        def roll(ctx: Context) -> float:
            return random.random()
        """,
    )

    first, again, other = (
        json.loads(invoke("action", "run", str(path), "roll", "--seed", seed, "--json").stdout)
        for seed in ("1", "1", "2")
    )

    assert first["result"] == again["result"] != other["result"]
