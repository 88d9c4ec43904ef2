"""Code in the real sandbox: the example assembles, and hostile code is refused with its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.errors import InvalidManifest
from assembler.problems import Code
from chassis.problems import Flaw, Problem
from cli.manifest import read_source
from runtime.bundles import read_program
from sandbox.launch import start_worker
from sandbox.pool import Pool
from sandbox.ports import Answer, Asked, Order
from tests.fakes.assembler_peers import FakePeers
from tests.sandbox.worlds import HEAD, RecordingHost

from .test_agents import agent
from .workbench import Workbench

EXAMPLE = Path(__file__).parents[2] / "examples" / "scorer" / "agent.yaml"
ACT = (
    HEAD
    + """@action
def act(ctx: Context, topic: str = "", limit: int = 5) -> dict[str, int]:
    \"\"\"Act.\"\"\"
    return {topic: limit}
"""
)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(start_worker, workers=1)
    yield pool
    await pool.close()


def bench_of(pool: Pool) -> Workbench:
    """Return an assembler that compiles in a sandbox."""
    return Workbench(FakePeers(compiler=pool))


async def problems_of(
    pool: Pool, text: str, files: Mapping[str, bytes] | None = None, *, packages: str = "[]"
) -> list[Problem]:
    """Return what is wrong with an agent whose one action has this code."""
    action = f"{{source: act.py, packages: {packages}}}"
    sent = {"act.py": text.encode(), **(files or {})}
    return await bench_of(pool).validate(agent("actor", action), files=sent)


async def test_the_example_assembles_and_its_code_executes(pool: Pool) -> None:
    source = read_source(EXAMPLE)
    text = source.content.decode().replace("local/actionvm-tiny", "local/babbler")
    files = {file.path: file.content for file in source.files}
    bench = bench_of(pool)
    bench.peers.quotes.gas_per_unit["code score"] = 0
    made = await bench.assemble(text, files=files)
    action = read_program(made.bundle.payload).action("score")
    assert action is not None
    assert action.code is not None
    passages = [{"document": "harbour.md", "text": "The ferry. The ferry!"}]
    host = RecordingHost(lambda _: Answer({"passages": passages}))
    order = Order(action.code.function, {"topic": "Ferry", "weight": 2}, seed=1)
    outcome = await pool.execute(action.code.executable, order, host)

    assert outcome.value == {"points": 4, "document": "harbour.md"}
    assert host.asked == [Asked("knowledge.search", {"query": "Ferry"})]
    assert made.warnings == ()


_SHADOW = """
from actionvm_sdk import actions
actions.Action.describe = lambda self: {FAKE}
"""
_FAKE = {"name": "act", "description": "", "capabilities": [], "line": 1, "output_schema": {}}


def _forged(**fields: object) -> str:
    """Return code that says something else of itself than its functions do."""
    return ACT + _SHADOW.replace("FAKE", repr({**_FAKE, **fields})[1:-1])


WRONG = {
    "no Python": ("def act(:\n", Code.SYNTAX_INVALID, 1),
    "a NUL": ("x = 1\0\n", Code.SYNTAX_INVALID, 1),
    "deep nesting": ("(" * 100_000, Code.CODE_FAILED, 1),
    "no such module": ("import json\nimport numpy\n", Code.IMPORT_NOT_FOUND, 2),
    "a module with a long name": (f"import {'a' * 100_000}\n", Code.IMPORT_NOT_FOUND, 1),
    "an exception": ("x = 1\nx / 0\n", Code.CODE_FAILED, 2),
    "an endless loop": ("while True: pass\n", Code.CODE_FAILED, 1),
    "too much memory": ("x = 'a' * 10**9\n", Code.CODE_FAILED, 1),
    "an exit": ("raise SystemExit\n", Code.CODE_FAILED, 1),
    "no action": ("x = 1\n", Code.FUNCTION_NOT_FOUND, 7),
    "a type that JSON does not have": (
        ACT.replace("int = 5", "complex = 5"),
        Code.TYPE_NOT_JSON,
        5,
    ),
    "a capability of nobody": (
        ACT.replace("@action", "@action(capabilities=['web.steal'])"),
        Code.GRANT_MISSING,
        7,
    ),
    "no context": (HEAD + "@action\ndef act(): ...\n", Code.TYPE_NOT_JSON, 5),
    "a name in capitals": (ACT.replace("def act", "def Act"), Flaw.INVALID_VALUE, 5),
    "a forged pattern": (
        _forged(parameters_schema={"type": "object", "properties": {"x": {"pattern": "(a+)+$"}}}),
        Code.TYPE_NOT_JSON,
        1,
    ),
    "a forged answer": (_forged(parameters_schema=7), Code.CODE_FAILED, 1),
    "a forged place": (_forged(parameters_schema={}, line=10**9), Code.CODE_FAILED, 1),
}


async def test_wrong_code_has_one_problem_with_its_line(pool: Pool) -> None:
    found = {name: await problems_of(pool, text) for name, (text, _, _) in WRONG.items()}

    assert {name: [(one.code, one.line) for one in told] for name, told in found.items()} == {
        name: [(code, line)] for name, (_, code, line) in WRONG.items()
    }
    assert all(
        one.fix or one.code == Code.SYNTAX_INVALID for told in found.values() for one in told
    )


async def test_all_wrong_imports_come_at_once_and_what_is_there_is_said_once(pool: Pool) -> None:
    one, other = await problems_of(pool, "import os\nfrom numpy import array\n")

    assert (one.line, other.line) == (1, 2)
    assert "`urllib.parse`" in one.fix
    assert other.fix == "Bundle it below `packages:`."


async def test_columns_are_counted_in_characters(pool: Pool) -> None:
    (failed,) = await problems_of(pool, "x = 'äöü'; y = 1 / 0\n")
    (wrong,) = await problems_of(pool, "x = 'äöü'; y = 1 / \n")

    assert (failed.line, failed.column) == (1, 16)
    assert (wrong.line, wrong.column) == (1, 20)


async def test_many_wrong_imports_are_no_bug(pool: Pool) -> None:
    assert len(await problems_of(pool, "import os\n" * 50_000)) > 10


async def test_a_problem_in_a_package_names_its_file(pool: Pool) -> None:
    files = {"lib/kit/__init__.py": b"", "lib/kit/deep/words.py": b"\n\nimport os\n"}
    (problem,) = await problems_of(pool, ACT, files, packages="[lib/kit]")

    assert (problem.file, problem.line) == ("lib/kit/deep/words.py", 3)


async def test_a_package_is_imported(pool: Pool) -> None:
    files = {
        "lib/kit/__init__.py": b"from .words import WORDS\n",
        "lib/kit/words.py": b"WORDS = 1\n",
    }
    text = f"{ACT}\nimport kit\nfrom kit.words import WORDS\nassert kit.WORDS == WORDS\n"

    assert await problems_of(pool, text, files, packages="[lib/kit]") == []


_SNIPPETS = [
    *("(", ")", "[", "]", "{", "}", ":", ",", "=", "\n", "    ", "\t", "'", '"""', "#", "@", "\\"),
    *("\0", "\ufeff", "\u202e", "é", "\U0001d518", "lambda: 0", "await ", "yield ", "*", "**x"),
    *("import os\n", "from . import x\n", "del Context\n", "raise KeyboardInterrupt\n", "Context"),
    *("int", "complex", "dict[int, str]", "list['act']", "capabilities=['a.b', 7]", "name='x.y'"),
    *("action(action)", "action = 1\n", "__import__('gc').collect()\n", "10**400", "float('nan')"),
]


@st.composite
def _mutations(draw: st.DrawFn) -> str:
    """Draw code in which a few stretches were removed, replaced or put in."""
    text = ACT
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
        text = text[:start] + draw(st.sampled_from(_SNIPPETS) | st.text(max_size=3)) + text[end:]
    return text


def test_mutated_code_assembles_or_says_what_is_wrong() -> None:
    """One sandbox for all of them."""
    with asyncio.Runner() as runner:
        pool = Pool(start_worker, workers=1)

        @settings(max_examples=150, derandomize=True)
        @given(_mutations())
        def check(text: str) -> None:
            files = {"act.py": text.encode(errors="replace")}
            try:
                made = runner.run(
                    bench_of(pool).assemble(agent("actor", "{source: act.py}"), files=files)
                )
            except InvalidManifest as error:
                assert all(one.message and str(one).isprintable() for one in error.problems)
            else:
                assert read_program(made.bundle.payload).actions[0].code

        try:
            check()
        finally:
            runner.run(pool.close())
