"""Everything that can be wrong with a manifest is reported with its place and a way out."""

from __future__ import annotations

import pytest

from assembler.errors import InvalidManifest
from assembler.problems import Code
from chassis.problems import PROBLEMS_MAX, Flaw, Problem, Severity, shorten
from chassis.source import read_draft

from .broken import BOMB, TEXTS, Broken
from .broken_code import CODE
from .broken_fields import FIELDS
from .broken_policies import POLICIES
from .broken_references import MODELS, REFERENCES
from .broken_workflows import WORKFLOWS
from .workbench import FILES, MANIFEST, Workbench, changed

OTHER_FILES = {**FILES, "image.png": b"\x89PNG\xff", "empty.md": b" \n"}
BROKEN = [*TEXTS, *FIELDS, *REFERENCES, *POLICIES, *WORKFLOWS]
# Codes that no text alone provokes; other tests do.
ELSEWHERE = {
    Code.BUDGET_TIGHT,
    Code.BUNDLE_TOO_LARGE,
    Code.CALLS_TOO_DEEP,
    Code.PRICE_NOT_FOUND,
    Flaw.PROBLEMS_LEFT_OUT,
}


def _named(broken: Broken) -> str:
    return broken.name


async def test_a_valid_manifest_has_no_problems() -> None:
    assert await Workbench().validate(MANIFEST) == []


@pytest.mark.parametrize("broken", BROKEN, ids=_named)
async def test_a_broken_manifest_has_exactly_its_problem(broken: Broken) -> None:
    problems = await Workbench().validate(broken.content, files=OTHER_FILES)

    assert [(p.code, p.line, p.column, p.field) for p in problems] == [
        (broken.code, broken.line, broken.column, broken.field)
    ]


@pytest.mark.parametrize("broken", MODELS, ids=_named)
async def test_a_model_that_does_not_link_is_a_problem(broken: Broken) -> None:
    with pytest.raises(InvalidManifest) as raised:
        await Workbench().assemble(broken.content)

    assert [(p.code, p.line, p.column, p.field) for p in raised.value.problems] == [
        (broken.code, broken.line, broken.column, broken.field)
    ]


def test_every_code_is_provoked_by_a_broken_manifest() -> None:
    provoked = {broken.code for broken in [*BROKEN, *MODELS]} | {broken.code for broken in CODE}

    assert {*Code, *Flaw} == provoked | ELSEWHERE


async def test_a_problem_names_the_file_and_a_way_out() -> None:
    (problem,) = await Workbench().validate(changed("board-key", "other-key"))

    assert problem == Problem(
        severity=Severity.ERROR,
        code=Code.SECRET_NOT_FOUND,
        file="agent.yaml",
        line=15,
        column=19,
        field="spec.actions[1].credential",
        message="there is no secret `other-key`",
        fix="Make it: `actionvm secrets put other-key --kind ed25519 --generate`.",
    )


@pytest.mark.parametrize(
    ("old", "new", "suggestion"),
    [
        ("seed: 1", "sed: 1", "Did you mean `seed`?"),
        ("knowledge.search", "knowledge.serch", "Did you mean `knowledge.search`?"),
        ("parameters.board_url", "parameters.board_ur", "Did you mean `board_url`?"),
        ("per: day", "per: dya", "Did you mean `day`?"),
        ('url: "${{', 'ulr: "${{', "Did you mean `url`?"),
    ],
)
async def test_what_is_misspelt_gets_a_suggestion(old: str, new: str, suggestion: str) -> None:
    problems = await Workbench().validate(changed(old, new))

    assert suggestion in [problem.fix for problem in problems]


async def test_a_secret_is_missed_although_its_action_is_unknown() -> None:
    text = changed(
        "use: board.post\n      credential: board-key", "use: b\n      credential: nobody"
    )

    problems = await Workbench().validate(text)

    assert [problem.code for problem in problems] == [Code.ACTION_UNKNOWN, Code.SECRET_NOT_FOUND]


async def test_all_problems_come_at_once_in_the_order_of_the_text() -> None:
    text = MANIFEST
    for old, new in {
        "name: market-brief": "name: Market",
        "local/babbler": "other/model",
        "knowledge.search": "knowledge.serch",
        "board-key": "other-key",
        "knowledge/week.md": "knowledge/weak.md",
        "50000": "0",
        "steps: 8": "stops: 8",
    }.items():
        text = text.replace(old, new)
    with pytest.raises(InvalidManifest) as raised:
        await Workbench().assemble(text)

    assert [(p.line, p.code) for p in raised.value.problems] == [
        (6, Flaw.INVALID_VALUE),
        (10, Code.PROVIDER_NOT_FOUND),
        (13, Code.ACTION_UNKNOWN),
        (15, Code.SECRET_NOT_FOUND),
        (20, Code.DOCUMENT_NOT_FOUND),
        (21, Flaw.OUT_OF_RANGE),
        (22, Flaw.UNKNOWN_FIELD),
    ]


async def test_a_cause_is_reported_without_its_consequences() -> None:
    problems = await Workbench().validate(changed("model: {", "model: !!set {"))

    assert [(p.code, p.field) for p in problems] == [(Flaw.TAG_FORBIDDEN, "spec.model")]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    draft = read_draft("bomb.yaml", BOMB.encode())

    assert {problem.code for problem in draft.problems} == {Flaw.ALIAS_FORBIDDEN}


async def test_hostile_texts_come_back_short_and_in_one_line() -> None:
    text = changed("seed: 1", f'"{"x" * 900}\\n\\e[31m": 1, seed: "\\u202e{"y" * 900}"')
    problems = await Workbench().validate(text)

    assert [len(str(problem)) < 300 and str(problem).isprintable() for problem in problems] == [
        True,
        True,
    ]


async def test_unreadable_files_are_no_concern_of_a_manifest_that_does_not_name_them() -> None:
    problems = await Workbench().validate(MANIFEST, files=OTHER_FILES)

    assert problems == []


def test_many_problems_end_with_how_many_were_left_out() -> None:
    problems = read_draft("a.yaml", b"1: x").problems * (PROBLEMS_MAX + 5)
    shown = shorten(problems)

    assert len(shown) == PROBLEMS_MAX
    assert (shown[-1].code, shown[-1].message) == (
        Flaw.PROBLEMS_LEFT_OUT,
        "6 more problems are not shown",
    )


def test_few_problems_are_all_shown() -> None:
    problems = read_draft("a.yaml", b"1: x").problems * PROBLEMS_MAX

    assert shorten(problems) == tuple(problems)
