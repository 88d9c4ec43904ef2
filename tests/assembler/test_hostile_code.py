"""Whatever an action with code says, it assembles, or somebody is told what is wrong with it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.errors import InvalidManifest
from runtime.bundles import read_program

from .broken_code import with_code
from .test_code import OTHER_FILES, workbench

ACTION = """
source: actions/wants.py, function: score, packages: [kit/textkit], required: false, grants: [
{use: knowledge.search, limits: {per_run: 2}},
{use: wallet.pay, approval: ask, policy: [{name: much, field: amount, deny_above: 5}]}],
compute: {fuel: 30000000, memory: 32, timeout: 9s, calls: 3}
""".replace("\n", " ")


async def _assemble(action: str) -> None:
    content = with_code(action).encode(errors="replace")
    bench = workbench()
    try:
        made = await bench.assemble(content, files=OTHER_FILES)
    except InvalidManifest as error:
        assert all(one.message and str(one).isprintable() for one in error.problems)
        assert bench.store.list(before=None, limit=1) == []
    else:
        assert read_program(made.bundle.payload)


_PIECES = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "- ",
            "\n",
            "null",
            "-1",
            "1e999",
            "true",
            "'",
            "${{",
            "&a",
        ),
        *("source: actions/two.py", "use: agent:market-brief", "../", "packages: [kit, kit]"),
        *(f"actions/{name}.py" for name in ("deep", "infinite", "elsewhere", "imports", "none")),
        *("grants: [a]", "grants: {}", "compute: 7", "function: two", "timeout: 99h", "\0", "é"),
    ]
)


@st.composite
def _mutations(draw: st.DrawFn) -> str:
    """Draw an action in which a few stretches were removed, replaced or put in."""
    text = ACTION
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
        text = text[:start] + draw(_PIECES | st.text(max_size=3)) + text[end:]
    return text


@settings(max_examples=200, derandomize=True, deadline=None)
@given(_mutations())
async def test_a_mutated_action_assembles_or_says_what_is_wrong(text: str) -> None:
    await _assemble(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_KNOWN = st.sampled_from(
    [
        *("score", "one", "wallet.pay", "board.post", "agent:market-brief", "mcp:x", "kit/textkit"),
        *(f"actions/{name}.py" for name in ("two", "quiet", "types", "pattern", "catalogue")),
        *([], {}, ["kit/textkit"], "9s", 0, 1, 10**12),
    ]
)
_PLACES: list[tuple[str | int, ...]] = [
    *((name,) for name in ("use", "source", "function", "packages", "grants", "compute", "policy")),
    *(("packages", 0), ("compute", "fuel"), ("compute", "timeout"), ("grants", 0)),
    *(("grants", 1, name) for name in ("use", "settings", "credential", "limits", "policy")),
]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_PLACES), _KNOWN | _VALUES), max_size=3))
async def test_any_value_in_an_action_assembles_or_says_what_is_wrong(
    changes: list[tuple[tuple[str | int, ...], object]],
) -> None:
    action: Any = yaml.safe_load(f"{{{ACTION}}}")
    for place, value in changes:
        inside = action
        # An earlier change may have removed the place.
        with suppress(IndexError, KeyError, TypeError):
            for part in place[:-1]:
                inside = inside[part]
            inside[place[-1]] = value
    await _assemble(json.dumps(action)[1:-1])
