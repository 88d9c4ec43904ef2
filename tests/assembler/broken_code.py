"""Manifests whose code is wrong: what an action says, and what comes of it.

A place is in the manifest, or in the Python file that is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assembler.problems import Code
from assembler.sources import CODE_BYTES_MAX
from chassis.canonical import Json
from chassis.problems import Flaw
from sandbox.outcome import Described, Examined
from sandbox.outcome import Flaw as CodeFlaw

from .workbench import changed

GRANTS = "grants: [{use: knowledge.search}]"


def with_code(action: str) -> str:
    """Return the manifest with another action, in line 14 and from column 8."""
    return changed("- use: board.post", f"- {{{action}}}\n    - use: board.post")


def described(name: str = "score", **fields: object) -> Described:
    """Return an action that needs nothing."""
    schema: dict[str, Json] = {"type": "object", "properties": {}}
    given: dict[str, object] = {"description": "", "capabilities": (), "line": 5}
    given |= {"parameters_schema": schema, "output_schema": {}} | fields
    return Described(name, **given)  # type: ignore[arg-type]  # the fields are those of the class


def _parameters(**schema: Json) -> Described:
    return described(parameters_schema={"type": "object", "properties": {"x": schema}})


def _nested(depth: int) -> dict[str, Json]:
    return {"items": _nested(depth - 1)} if depth else {}


_FLAWS = {
    "syntax": ("syntax", "invalid syntax", "actions/syntax.py", 3, 7),
    "imports": ("import", "numpy", "actions/imports.py", 2, 1),
    "types": ("schema", "x is complex, which JSON does not have", "actions/types.py", 1, 1),
    "fails": ("failed", "ZeroDivisionError: division by zero", "actions/fails.py", 1, 3),
    "elsewhere": ("failed", "\x1b[2J" * 99, "../../etc/passwd", 4, 1),
}
_ACTIONS = {
    "none": (),
    "two": (described("one"), described("two")),
    "twins": (described("twin"), described("twin")),
    "quiet": (described(),),
    "upper": (described("Score"),),
    "catalogue": (described("wallet.pay"),),
    "wants": (described(capabilities=("knowledge.search", "wallet.pay")),),
    "pattern": (_parameters(pattern="(a+)+$"),),
    "reference": (_parameters(**{"$ref": "http://127.0.0.1/schema"}),),
    "deep": (_parameters(**_nested(12)),),
    "large": (_parameters(description="x" * 40_000),),
    "infinite": (_parameters(minimum=float("inf")),),
    "number": (_parameters(default=2**60),),
    "nameless": (described(parameters_schema={"type": "string"}),),
    "result": (described(output_schema={"type": "anything"}),),
}
EXAMINED = {
    **{f"actions/{name}.py": Examined(flaws=(CodeFlaw(*flaw),)) for name, flaw in _FLAWS.items()},
    **{f"actions/{name}.py": Examined(found, fuel=20_000_000) for name, found in _ACTIONS.items()},
}
CODE_FILES: Mapping[str, bytes] = {
    **dict.fromkeys(EXAMINED, b"# it is examined by a fake\n"),
    "actions/score.py": b"import textkit\n",
    "actions/latin.py": b"\n# caf\xc3\xa9 \xe9\n",
    "actions/huge.py": b"#" * (CODE_BYTES_MAX + 1),
    "kit/textkit/__init__.py": b"",
    "kit/textkit/words.py": b"WORDS = ()\n",
    "kit/textkit/notes.md": b"not sent to the sandbox",
    "other/textkit/__init__.py": b"",
    "bare/words.py": b"",
    "kit/text-kit/__init__.py": b"",
    "kit/json/__init__.py": b"",
    **{f"many/{number}.py": b"" for number in range(128)},
    "many/__init__.py": b"",
}


@dataclass(frozen=True)
class BrokenCode:
    """A manifest with code and its one problem, in the manifest or in another file."""

    name: str
    content: str
    code: str
    file: str
    line: int
    column: int
    field: str


def _in_manifest(name: str, action: str, code: str, at: str, field: str) -> BrokenCode:
    """Return a problem where `at` stands last in the action, or where the action begins."""
    path, column = f"spec.actions[1]{field}", 8 + action.rindex(at) if at else 7
    return BrokenCode(name, with_code(action), code, "agent.yaml", 14, column, path)


def _in_file(name: str, code: str, file: str, line: int = 5, column: int = 1) -> BrokenCode:
    path = f"actions/{file}.py"
    text = with_code(f"source: {path}")
    return BrokenCode(name, text, code, path, line, column, "spec.actions[1].source")


_AT = "source: actions/"
_S = f"{_AT}score.py, {GRANTS}"
_AND = f"{_AT}score.py, grants: [{{use: knowledge.search}}, "
_WITH = f"{_AT}score.py, grants: [{{use: knowledge.search, "

CODE = [
    _in_file("no Python", Code.SYNTAX_INVALID, "syntax", 3, 7),
    _in_file("a module that is not there", Code.IMPORT_NOT_FOUND, "imports", 2),
    _in_file("a type that JSON does not have", Code.TYPE_NOT_JSON, "types", 1),
    _in_file("code that fails", Code.CODE_FAILED, "fails", 1, 3),
    _in_file("a flaw in a file that is none of its", Code.CODE_FAILED, "elsewhere", 4),
    _in_file("not UTF-8", Code.CODE_MALFORMED, "latin", 2, 8),
    _in_file("a name that no action has", Flaw.INVALID_VALUE, "upper"),
    _in_file("a schema with a pattern", Code.TYPE_NOT_JSON, "pattern"),
    _in_file("a schema that is elsewhere", Code.TYPE_NOT_JSON, "reference"),
    _in_file("a schema that is too deep", Code.TYPE_NOT_JSON, "deep"),
    _in_file("a schema that is too large", Code.TYPE_NOT_JSON, "large"),
    _in_file("a schema with infinity", Code.TYPE_NOT_JSON, "infinite"),
    _in_file("a schema with a number that is too large", Code.TYPE_NOT_JSON, "number"),
    _in_file("parameters without names", Code.TYPE_NOT_JSON, "nameless"),
    _in_file("a result of no known type", Code.TYPE_NOT_JSON, "result"),
    _in_manifest("no such file", "source: a/no.py", Code.CODE_NOT_FOUND, "a/", ".source"),
    _in_manifest("no Python file", "source: a.js", Flaw.INVALID_VALUE, "a.js", ".source"),
    _in_manifest("a file elsewhere", "source: ../a.py", Code.PATH_FORBIDDEN, "../", ".source"),
    _in_manifest("too much", f"{_AT}huge.py", Code.CODE_TOO_LARGE, "actions", ".source"),
    _in_manifest(
        "too much with packages",
        f"{_S}, packages: [many]",
        Code.CODE_TOO_LARGE,
        "actions",
        ".source",
    ),
    _in_manifest("no action", f"{_AT}none.py", Code.FUNCTION_NOT_FOUND, "actions", ".source"),
    _in_manifest("two actions", f"{_AT}two.py", Flaw.MISSING_FIELD, "", ".function"),
    _in_manifest(
        "another function", f"{_S}, function: so", Code.FUNCTION_NOT_FOUND, "so", ".function"
    ),
    _in_manifest(
        "two of one name",
        f"{_AT}twins.py, function: twin",
        Flaw.DUPLICATE_ITEM,
        "twin",
        ".function",
    ),
    _in_manifest(
        "a name of the catalogue", f"{_AT}catalogue.py", Flaw.DUPLICATE_ITEM, "actions", ".source"
    ),
    _in_manifest(
        "a capability without a grant",
        f"{_AT}wants.py, {GRANTS}",
        Code.GRANT_MISSING,
        "grants",
        ".grants.wallet.pay",
    ),
    _in_manifest(
        "a grant for nothing",
        f"{_AND}{{use: wallet.pay}}]",
        Code.GRANT_UNUSED,
        "wallet",
        ".grants[1].use",
    ),
    _in_manifest(
        "a grant of nothing",
        f"{_AND}{{use: wallet.pya}}]",
        Code.ACTION_UNKNOWN,
        "wallet",
        ".grants[1].use",
    ),
    _in_manifest(
        "a grant of an agent that is not there",
        f"{_AND}{{use: 'agent:nobody'}}]",
        Code.AGENT_NOT_FOUND,
        "'agent",
        ".grants[1].use",
    ),
    _in_manifest(
        "a grant twice",
        f"{_AND}{{use: knowledge.search}}]",
        Flaw.DUPLICATE_ITEM,
        "knowledge",
        ".grants[1].use",
    ),
    _in_manifest(
        "a grant without a name",
        f"{_AND}{{approval: ask}}]",
        Flaw.MISSING_FIELD,
        "{app",
        ".grants[1].use",
    ),
    _in_manifest(
        "a credential that a grant does not use",
        f"{_WITH}credential: board-key}}]",
        Code.CREDENTIAL_UNUSED,
        "board",
        ".grants[0].credential",
    ),
    _in_manifest(
        "a setting that a grant does not have",
        f"{_WITH}settings: {{url: a}}}}]",
        Flaw.UNKNOWN_FIELD,
        "url",
        ".grants[0].settings.url",
    ),
    _in_manifest(
        "a rule about what a grant does not take",
        f"{_WITH}policy: [{{name: a, field: topic, never: [x]}}]}}]",
        Code.POLICY_FIELD_UNKNOWN,
        "topic",
        ".grants[0].policy[0].field",
    ),
    _in_manifest(
        "a credential of its own",
        f"{_S}, credential: board-key",
        Flaw.CONTRADICTION,
        "credential",
        ".credential",
    ),
    _in_manifest(
        "a name as well", f"use: wallet.pay, {_S}", Flaw.CONTRADICTION, "actions", ".source"
    ),
    _in_manifest(
        "grants without code", f"use: wallet.pay, {GRANTS}", Flaw.CONTRADICTION, "grants", ".grants"
    ),
    _in_manifest("neither name nor code", "required: false", Flaw.MISSING_FIELD, "", ".use"),
    _in_manifest(
        "too much memory",
        f"{_S}, compute: {{memory: 513}}",
        Flaw.OUT_OF_RANGE,
        "513",
        ".compute.memory",
    ),
    _in_manifest(
        "too much time",
        f"{_S}, compute: {{timeout: 11m}}",
        Flaw.OUT_OF_RANGE,
        "11m",
        ".compute.timeout",
    ),
    _in_manifest(
        "less fuel than loading takes",
        f"{_AT}quiet.py, compute: {{fuel: 10000000}}",
        Flaw.CONTRADICTION,
        "1000",
        ".compute.fuel",
    ),
    *(
        _in_manifest(name, f"{_S}, packages: [{folder}]", code, folder.rpartition(" ")[2], field)
        for name, folder, code, field in (
            ("no such package", "kit/none", Code.CODE_NOT_FOUND, ".packages[0]"),
            ("a package without a beginning", "bare", Code.CODE_MALFORMED, ".packages[0]"),
            ("a package that has no name", "kit/text-kit", Code.CODE_MALFORMED, ".packages[0]"),
            ("a package of the sandbox", "kit/json", Code.CODE_MALFORMED, ".packages[0]"),
            (
                "two packages of one name",
                "kit/textkit, other/textkit",
                Flaw.DUPLICATE_ITEM,
                ".packages[1]",
            ),
        )
    ),
]
