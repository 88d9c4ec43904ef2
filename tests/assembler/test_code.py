"""Actions may have code: what it says of itself is checked, and goes into the bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import sandbox.ports
from assembler.assembly import Progress, Stage
from assembler.errors import InvalidManifest, SandboxUnavailable
from assembler.manifest import manifest_schema
from assembler.problems import Code
from assembler.sources import CODE_BYTES_MAX
from chassis.canonical import Json
from chassis.problems import Severity
from runtime.bundles import read_program
from sandbox.outcome import Examined
from tests.fakes.assembler_peers import FakeCompiler, FakePeers

from .broken_code import CODE, CODE_FILES, EXAMINED, GRANTS, BrokenCode, described, with_code
from .test_agents import agent, assemble
from .workbench import FILES, MANIFEST, Workbench, changed

OTHER_FILES = {**FILES, **CODE_FILES}
SCORE = f"source: actions/score.py, {GRANTS}, packages: [kit/textkit]"


def workbench() -> Workbench:
    """Return one that knows the files of broken code."""
    return Workbench(FakePeers(compiler=FakeCompiler(EXAMINED)))


def compiler_of(bench: Workbench) -> FakeCompiler:
    """Return its compiler, to be told what to do."""
    assert isinstance(bench.peers.compiler, FakeCompiler)
    return bench.peers.compiler


async def code_of(bench: Workbench, action: str) -> dict[str, Any]:
    """Return the action with code in the bundle of a manifest."""
    made = await bench.assemble(with_code(action), files=OTHER_FILES)
    found: dict[str, Any] = json.loads(made.bundle.payload)["actions"][1]
    return found


@pytest.mark.parametrize("broken", CODE, ids=lambda broken: broken.name)
async def test_broken_code_has_exactly_its_problem(broken: BrokenCode) -> None:
    problems = await workbench().validate(broken.content, files=OTHER_FILES)

    assert [(p.code, p.file, p.line, p.column, p.field) for p in problems] == [
        (broken.code, broken.file, broken.line, broken.column, broken.field)
    ]
    assert str(problems[0]).isprintable()


async def test_a_bundle_with_code_is_as_agreed(assert_golden: Callable[[str, str], None]) -> None:
    text = with_code(f"{SCORE}, limits: {{per_run: 3}}, compute: {{timeout: 1m, memory: 32}}")
    bundle = (await workbench().assemble(text, files=OTHER_FILES)).bundle
    readable = json.dumps(json.loads(bundle.payload), indent=2, ensure_ascii=False)

    assert_golden("assembler_code.txt", f"{text}\n--- {bundle.name}\n\n{readable}\n")


async def test_the_runtime_reads_a_bundle_with_code() -> None:
    made = await workbench().assemble(with_code(SCORE), files=OTHER_FILES)
    action = read_program(made.bundle.payload).action("score")

    assert action is not None
    assert action.code is not None
    assert action.program == f"code:{action.code.executable.sha256}"
    assert action.code.grant("knowledge.search") is not None


async def test_the_sandbox_gets_the_file_and_what_it_may_import() -> None:
    bench = workbench()
    await bench.assemble(with_code(SCORE), files=OTHER_FILES)

    (code,) = compiler_of(bench).codes
    assert isinstance(code, sandbox.ports.Code)
    assert (code.main, code.files) == (
        "actions/score.py",
        {
            "actions/score.py": "import textkit\n",
            "textkit/__init__.py": "",
            "textkit/words.py": "WORDS = ()\n",
        },
    )


async def test_an_assembly_says_how_many_instructions_code_took() -> None:
    events = await workbench().events(with_code(SCORE), files=OTHER_FILES)

    assert [
        one.detail for one in events if isinstance(one, Progress) if one.stage is Stage.COMPILE
    ] == [
        "compiling actions/score.py",
        "score loads in 1234567 instructions",
    ]


async def test_code_that_several_actions_share_is_compiled_once() -> None:
    bench = workbench()
    two = "source: actions/two.py, function: one}\n    - {source: actions/two.py, function: two"
    await bench.assemble(with_code(two), files=OTHER_FILES)

    assert len(compiler_of(bench).codes) == 1


async def test_code_that_several_actions_share_is_wrong_once() -> None:
    two = "source: actions/syntax.py, function: a}\n    - {source: actions/syntax.py, function: b"
    problems = await workbench().validate(with_code(two), files=OTHER_FILES)

    assert [problem.code for problem in problems] == [Code.SYNTAX_INVALID]


async def test_code_writes_if_something_that_it_was_granted_writes() -> None:
    grants = "grants: [{use: knowledge.search}, {use: wallet.pay}]"
    assert (await code_of(workbench(), SCORE))["effect"] == "read"
    wants = await code_of(workbench(), f"source: actions/wants.py, function: score, {grants}")
    assert wants["effect"] == "write"


async def test_what_code_does_not_declare_is_not_in_the_bundle() -> None:
    grants = "grants: [{use: knowledge.search}, {use: wallet.pay}]"
    action = await code_of(workbench(), f"source: actions/score.py, {grants}")

    assert action["effect"] == "read"
    assert action["code"]["capabilities"] == ["knowledge.search"]
    assert [grant["name"] for grant in action["code"]["grants"]] == ["knowledge.search"]


async def test_a_grant_that_is_not_declared_is_only_a_warning() -> None:
    grants = "grants: [{use: knowledge.search}, {use: wallet.pay}]"
    made = await workbench().assemble(
        with_code(f"source: actions/score.py, {grants}, compute: {{fuel: 10000000}}"),
        files=OTHER_FILES,
    )

    assert [(p.severity, p.code) for p in made.warnings] == [(Severity.WARNING, Code.GRANT_UNUSED)]


async def test_a_missing_grant_is_shown() -> None:
    text = with_code("source: actions/wants.py")
    fixes = [problem.fix for problem in await workbench().validate(text, files=OTHER_FILES)]

    assert "Add it below `grants:`, or remove it from the code: `- {use: wallet.pay}`." in fixes


async def test_what_is_misspelt_in_code_gets_a_suggestion() -> None:
    grants = "grants: [{use: knowledge.search}, {use: wallet.pay}]"
    text = with_code(f"source: actions/wants.py, function: score, {grants}")
    for old, new, suggestion in (
        ("function: score", "function: scor", "Did you mean `score`?"),
        ("wallet.pay", "wallet.pya", "Did you mean `wallet.pay`?"),
    ):
        (problem,) = await workbench().validate(text.replace(old, new), files=OTHER_FILES)

        assert suggestion in problem.fix


async def test_all_problems_come_at_once_those_of_the_manifest_first() -> None:
    text = with_code("source: actions/syntax.py").replace("gas: 50000", "gas: 0")
    problems = await workbench().validate(text, files=OTHER_FILES)

    assert [(problem.file, problem.line) for problem in problems] == [
        ("agent.yaml", 22),
        ("actions/syntax.py", 3),
    ]


async def test_without_a_sandbox_code_is_not_compiled() -> None:
    with pytest.raises(SandboxUnavailable, match="no worker starts"):
        await workbench().validate(
            with_code("source: actions/away.py"), files={**OTHER_FILES, "actions/away.py": b""}
        )


async def test_without_code_no_sandbox_is_needed() -> None:
    bench = workbench()
    await bench.assemble(MANIFEST)

    assert compiler_of(bench).codes == []


async def test_a_step_costs_all_that_code_may_use_and_the_dearest_calls() -> None:
    bench = workbench()
    bench.peers.quotes.gas_per_unit |= {"action knowledge.search": 7, "action wallet.pay": 50}
    grants = "grants: [{use: knowledge.search}, {use: wallet.pay, limits: {per_run: 2}}]"
    compute = "compute: {fuel: 30000000, calls: 5}"
    text = with_code(f"source: actions/wants.py, {grants}, {compute}")
    made = await bench.assemble(text, files=OTHER_FILES)

    assert made.step_gas_max == 2_048 + 160 + (30_000 + 5) + 2 * 50 + 3 * 7


async def test_code_without_a_price_is_refused() -> None:
    bench = workbench()
    bench.peers.quotes.unpriced.add("code score")
    with pytest.raises(InvalidManifest) as raised:
        await bench.assemble(with_code(SCORE), files=OTHER_FILES)

    assert [(p.code, p.field) for p in raised.value.problems] == [
        (Code.PRICE_NOT_FOUND, "spec.actions[1].source")
    ]


WORKFLOW = """\
  workflow:
    steps: [{id: rate, action: score, with: {topic: {from: input}}}]
    output: steps.rate.output
"""


async def test_a_step_names_code_by_its_function() -> None:
    text = with_code(SCORE).replace("  budget:", f"{WORKFLOW}  budget:")
    made = await workbench().assemble(text, files=OTHER_FILES)

    assert json.loads(made.bundle.payload)["workflow"]["steps"][0]["action"] == "score"


async def test_the_arguments_of_a_step_must_fit_the_code() -> None:
    text = with_code(SCORE).replace("  budget:", f"{WORKFLOW}  budget:")
    problems = await workbench().validate(text.replace("{topic:", "{topik:"), files=OTHER_FILES)

    assert [problem.code for problem in problems] == [Code.STEP_ARGUMENT, Code.STEP_ARGUMENT]


async def test_steps_of_code_that_does_not_compile_are_no_problem() -> None:
    text = with_code("source: actions/syntax.py").replace("  budget:", f"{WORKFLOW}  budget:")
    problems = await workbench().validate(text, files=OTHER_FILES)

    assert [problem.code for problem in problems] == [Code.SYNTAX_INVALID]


async def test_code_may_ask_an_agent_which_is_pinned_and_in_the_chain() -> None:
    bench = workbench()
    translator = await assemble(bench, agent("translator"))
    asking = "{source: actions/quiet.py, grants: [{use: 'agent:translator'}]}"
    compiler_of(bench).examined["actions/quiet.py"] = Examined(
        (described(capabilities=("translator.ask",)),)
    )
    made = await bench.assemble(agent("asker", asking), files=OTHER_FILES)
    (action,) = json.loads(made.bundle.payload)["actions"]
    problems = await bench.validate(agent("translator", "{use: 'agent:asker'}"), files=OTHER_FILES)

    assert action["code"]["grants"][0]["program"] == f"agent:{translator.name}"
    # It would ask itself in the end.
    assert [problem.code for problem in problems] == [Code.AGENT_REPEATED]


async def test_a_secret_that_only_a_grant_names_must_be_there() -> None:
    grants = 'grants: [{use: board.post, credential: other, settings: {url: "http://b"}}]'
    problems = await workbench().validate(
        with_code(f"source: actions/quiet.py, {grants}"), files=OTHER_FILES
    )

    assert [(p.code, p.field) for p in problems if p.severity is Severity.ERROR] == [
        (Code.SECRET_NOT_FOUND, "spec.actions[1].grants[0].credential")
    ]


async def test_what_is_told_of_code_is_cut() -> None:
    bench = workbench()
    compiler_of(bench).examined["actions/quiet.py"] = Examined(
        (described(description="x" * 2_000),)
    )
    action = await code_of(bench, "source: actions/quiet.py")

    assert len(action["description"]) == 1_024


async def test_the_largest_code_fits() -> None:
    files = {**OTHER_FILES, "actions/quiet.py": b"#" * CODE_BYTES_MAX}
    made = await workbench().assemble(with_code("source: actions/quiet.py"), files=files)

    assert read_program(made.bundle.payload).action("score")


async def test_an_agent_without_code_says_nothing_of_it() -> None:
    made = await Workbench().assemble(changed("50000", "60000"))

    assert all("code" not in action for action in json.loads(made.bundle.payload)["actions"])


async def test_the_schema_for_editors_knows_code() -> None:
    schema = Draft202012Validator(json.loads(manifest_schema()))
    action: dict[str, Json] = {
        "source": "a.py",
        "grants": [{"use": "web.get"}],
        "compute": {"calls": 1},
    }
    for fields, is_right in (
        (action, True),
        ({"use": "knowledge.search"}, True),
        (action | {"use": "knowledge.search"}, False),
        ({"required": True}, False),
        (action | {"grants": [{"approval": "ask"}]}, False),
        (action | {"compute": {"memory": 1_000}}, False),
    ):
        manifest = yaml.safe_load(agent("actor"))
        manifest["spec"]["actions"] = [fields]
        assert schema.is_valid(manifest) == is_right, fields
