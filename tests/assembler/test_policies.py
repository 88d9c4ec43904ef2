"""What a manifest says about policy is what the runtime decides by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from assembler.rules import Rule
from runtime.bundles import read_program
from tests.assembler.workbench import MANIFEST, Workbench, changed

DOCS = Path(__file__).resolve().parents[2] / "docs" / "policy.md"
EXAMPLES = re.findall(r"```yaml\n(actions:.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
RULES = """\
[{name: value, field: amount, ask_above: 100, deny_above: 500, ask_below: 2.5, deny_below: 1.5},
 {name: short, length_of: to, deny_above: 9}, {name: known, field: to, only: [a, "0x*"]},
 {name: unknown, field: amount, never: [13], otherwise: ask}, {name: often, most: 3, per: 90m},
 {name: much, most: "0.5", per: month, timezone: Europe/Berlin, sum_of: wei, each: to},
 {name: open, hours: {timezone: Europe/Berlin, days: [sunday, friday], until: "18:00"}}]
"""


async def _bundle(actions: str) -> bytes:
    """Return the payload of an agent with these actions."""
    old = MANIFEST[MANIFEST.index("  actions:") : MANIFEST.index("  knowledge:")]
    assembly = await Workbench().assemble(changed(old, actions))
    return assembly.bundle.payload


async def test_a_bundle_says_all_that_its_manifest_does() -> None:
    payload = json.loads(
        await _bundle(f"  actions: [{{use: wallet.pay, policy: {RULES.strip()}}}]\n")
    )

    assert payload["actions"][0]["policy"] == [
        {
            "kind": "bound",
            "name": "value",
            "field": "amount",
            "ask_above": "100",
            "deny_above": "500",
            "ask_below": "2.5",
            "deny_below": "1.5",
        },
        {"kind": "bound", "name": "short", "field": "to", "measure": "length", "deny_above": "9"},
        {"kind": "choice", "name": "known", "field": "to", "only": ["a", "0x*"]},
        {"kind": "choice", "name": "unknown", "field": "amount", "never": [13], "otherwise": "ask"},
        {"kind": "window", "name": "often", "most": "3", "seconds": 5_400},
        {
            "kind": "window",
            "name": "much",
            "most": "0.5",
            "per": "month",
            "time_zone": "Europe/Berlin",
            "sum_of": "wei",
            "each": "to",
        },
        {
            "kind": "hours",
            "name": "open",
            "time_zone": "Europe/Berlin",
            "days": [4, 6],
            "start": 0,
            "end": 1_080,
        },
    ]


async def test_a_limit_per_day_is_a_rule_and_without_rules_there_are_none() -> None:
    payload = json.loads(
        await _bundle(
            "  actions: [{use: wallet.pay, limits: {per_day: 7}}, {use: knowledge.search}]\n"
        )
    )

    rule = {"kind": "window", "name": "per_day", "most": "7", "per": "day"}
    assert [action.get("policy") for action in payload["actions"]] == [[rule], None]


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_examples_of_the_docs_assemble(example: str) -> None:
    payload = await _bundle("".join(f"  {line}\n" for line in example.splitlines()))
    program = read_program(payload)

    assert all(action.policy for action in program.actions)


def test_the_docs_name_every_field_of_a_rule() -> None:
    text = DOCS.read_text(encoding="utf-8")

    assert len(EXAMPLES) == 4
    assert [name for name in Rule.model_fields if f"`{name}" not in text] == []
