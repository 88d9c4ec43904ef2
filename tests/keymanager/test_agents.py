"""No agent uses the key of another one: the confused deputy is refused."""

from __future__ import annotations

import itertools

from keymanager.errors import UseDenied
from keymanager.journal import Asker
from keymanager.signing import Purpose

from .vaults import OPERATOR, Bench, sign

AGENTS = 20
RULE = """
  - name: own-{number}
    verdict: allow
    callers: runtime
    agents: agents/a{number}
    secrets: secrets/key-{number}
    operations: sign-message
    purposes: request
"""


async def test_of_twenty_agents_and_twenty_keys_each_agent_uses_its_own() -> None:
    bench = Bench()
    rules = "".join(RULE.format(number=number) for number in range(AGENTS))
    await bench.vault.put_policy(f"format: actionvm.policy/v1\nrules:{rules}", by=OPERATOR)
    for number in range(AGENTS):
        await bench.put(f"secrets/key-{number}")

    allowed = []
    for agent, key in itertools.product(range(AGENTS), repeat=2):
        by = Asker("runtime", f"agents/a{agent}")
        try:
            await sign(bench.vault, f"secrets/key-{key}", Purpose.REQUEST, b"m", by=by)
        except UseDenied:
            continue
        allowed.append((agent, key))

    assert allowed == [(number, number) for number in range(AGENTS)]
