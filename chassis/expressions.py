"""Expressions over JSON: the part of JMESPath that always ends, and gives no more than it is given.

Fields, indices, literals, comparisons, `&&`, `||` and `!`. No projections and no functions: with
those, a short text could build a value of any size, or fail in the middle of a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from .canonical import Json

EXPRESSION_CHARACTERS_MAX = 256
_LITERAL = re.compile(r"`((?:\\`|[^`])*)`")
_ALLOWED = frozenset(
    {
        "and_expression",
        "comparator",
        "field",
        "identity",
        "index",
        "index_expression",
        "literal",
        "not_expression",
        "or_expression",
        "subexpression",
    }
)


class ExpressionInvalid(ValueError):
    """It is no expression; the text says why."""


@dataclass(frozen=True)
class Node:
    """A part of an expression; kinds, values and children are those of JMESPath."""

    kind: str
    value: Json
    children: tuple[Node, ...]


@dataclass(frozen=True)
class Expression:
    """A text that was read; `paths` are the fields that it looks at, from the outermost in."""

    text: str
    paths: tuple[tuple[str, ...], ...]
    tree: Node

    def of(self, value: Json) -> Json:
        """Return what it is of a value; null where there is nothing."""
        found: Json = jmespath.compile(self.text).search(value)
        return found


@lru_cache(maxsize=1_024)
def read_expression(text: str) -> Expression:
    """Return the expression, or raise `ExpressionInvalid`."""
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        raise ExpressionInvalid(f"is longer than {EXPRESSION_CHARACTERS_MAX} characters")
    for literal in _LITERAL.findall(text):
        # Otherwise it would be taken for a text, with a warning that nobody sees.
        _require_json(literal.replace("\\`", "`"))
    try:
        tree = jmespath.compile(text).parsed
        _require_allowed(tree)
        return Expression(text, tuple(_paths(tree)), _node(tree))
    except (JMESPathError, PendingDeprecationWarning) as error:
        told = str(error).partition("\n")[0]
        raise ExpressionInvalid(f"is no expression: {told[:200]}") from error
    except RecursionError as error:
        raise ExpressionInvalid("is nested too deeply") from error


def is_true(value: Json) -> bool:
    """Tell whether a condition holds; as in JMESPath, null and all that is empty is false."""
    return value is not None and value is not False and value not in ("", [], {})


def _require_allowed(node: Mapping[str, Any]) -> None:
    kind = node["type"]
    if kind not in _ALLOWED:
        told = str(kind).replace("_", " ")
        raise ExpressionInvalid(f"has a {told}; only fields, indices and comparisons are allowed")
    if kind == "literal":
        _require_json(json.dumps(node["value"]))
    if kind == "subexpression" and node["children"][0]["type"] == "not_expression":
        raise ExpressionInvalid("negates before it looks inside; write `!(input.late)`")
    for child in node["children"]:
        _require_allowed(child)


def _require_json(literal: str) -> None:
    try:
        value = json.loads(literal)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise ExpressionInvalid("has a literal that is not JSON; put a text in '…'") from error


def _node(tree: Mapping[str, Any]) -> Node:
    return Node(tree["type"], tree.get("value"), tuple(map(_node, tree["children"])))


def _paths(node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if path := _path(node):
        yield path
    elif node["type"] == "subexpression":
        # What is right of the dot is a field of what is left.
        yield from _paths(node["children"][0])
    else:
        for child in node["children"]:
            yield from _paths(child)


def _path(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of a chain of them; none if it is something else."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "index_expression":
        return _path(node["children"][0])
    if node["type"] == "subexpression":
        parts = [_path(child) for child in node["children"]]
        return tuple(name for part in parts for name in part) if parts[0] else ()
    return ()
