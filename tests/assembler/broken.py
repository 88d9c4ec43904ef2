"""Broken manifests: texts that cannot be read to their end, or hold no fields."""

from __future__ import annotations

from dataclasses import dataclass

from assembler.problems import Code
from chassis.problems import Flaw

from .workbench import MANIFEST, changed


@dataclass(frozen=True)
class Broken:
    """A manifest and its one problem."""

    name: str
    content: str | bytes
    code: str
    line: int
    column: int
    field: str


# 2^20 copies of one text, if aliases were taken.
BOMB = "x0: &x0 [x, x]\n" + "".join(f"x{n + 1}: &x{n + 1} [*x{n}, *x{n}]\n" for n in range(20))
RENDERED_TOO_LARGE = changed(
    "Summarise what moved, in two sentences, then post it.", "${{ parameters.board_url }}" * 30_000
).replace("127.0.0.1:7480", "b" * 40)

TEXTS = [
    Broken("nothing", "", Code.MANIFEST_EMPTY, 1, 1, ""),
    Broken("a comment", "# soon\n", Code.MANIFEST_EMPTY, 1, 1, ""),
    Broken("a list", "- a\n- b\n", Flaw.WRONG_TYPE, 1, 1, ""),
    Broken("a text", "hello", Flaw.WRONG_TYPE, 1, 1, ""),
    Broken("not UTF-8", b"apiVersion: \xff\n", Flaw.MALFORMED_TEXT, 1, 13, ""),
    Broken("UTF-16", MANIFEST.encode("utf-16"), Flaw.MALFORMED_TEXT, 1, 1, ""),
    Broken("a NUL", "a: 1\nb: \0\n", Flaw.MALFORMED_TEXT, 2, 4, ""),
    Broken("a tab as indentation", "a:\n\tb: 1\n", Flaw.MALFORMED_YAML, 2, 1, ""),
    Broken("an open bracket", "a: [1, 2\nb: 3\n", Flaw.MALFORMED_YAML, 2, 2, ""),
    Broken("an open quote", "a: 'x\n", Flaw.MALFORMED_YAML, 2, 1, ""),
    Broken("two colons", "a: b: c\n", Flaw.MALFORMED_YAML, 1, 5, ""),
    Broken("no such character", 'a: "\\UFFFFFFFF"\n', Flaw.MALFORMED_YAML, 1, 1, ""),
    Broken("two documents", f"{MANIFEST}---\na: 1\n", Flaw.MULTIPLE_DOCUMENTS, 23, 1, ""),
    Broken("deep nesting", "a: " + "[" * 40, Flaw.TOO_DEEP, 1, 35, ""),
    Broken("many values", f"a: [{'1, ' * 20_000}]", Flaw.TOO_MANY_VALUES, 1, 59_999, ""),
    Broken(
        "too much text", RENDERED_TOO_LARGE, Code.RENDERED_TOO_LARGE, 11, 17, "spec.instructions"
    ),
    Broken("a list as a key", "? [a]\n: b\n", Flaw.KEY_INVALID, 1, 3, ""),
]
