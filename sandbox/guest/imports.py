"""Which imports of a file lead nowhere in the sandbox."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from . import stdlib

_ALLOWED = {"actionvm_sdk", *stdlib.MODULES}
_SUBMODULES_OF = tuple(f"{name}." for name in ("actionvm_sdk",))


def allow(name: str) -> None:
    """Add a module that is there: outside of WebAssembly, there are others."""
    _ALLOWED.add(name)


def imported(source: str) -> list[str]:
    """Return the modules that a file imports by name; raise `SyntaxError`."""
    return [name for _, name in _imported(ast.parse(source))]


def check_imports(path: str, source: str, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what a file imports and cannot: neither in the sandbox nor beside it."""
    return [
        {
            "file": path,
            "line": node.lineno,
            "column": node.col_offset + 1,
            "kind": "import",
            "message": name,
        }
        for node, name in _imported(ast.parse(source))
        if not _is_there(name, sources)
    ]


def _imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node, node.module


def _is_there(name: str, sources: Mapping[str, str]) -> bool:
    if name in _ALLOWED or name.startswith(_SUBMODULES_OF):
        return True
    plain = name.replace(".", "/")
    return f"{plain}.py" in sources or f"{plain}/__init__.py" in sources
