"""An agent may ask others that were assembled before; it pins them by digest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from assembler.agents import CHAIN_LENGTH_MAX
from assembler.bundle import Bundle
from assembler.errors import InvalidManifest
from assembler.problems import Code
from chassis.problems import Flaw, Problem

from .workbench import Workbench

POSTS = '{use: board.post, credential: board-key, settings: {url: "http://b"}}'
SEARCHES = "{use: knowledge.search}"


def agent(name: str, *actions: str, version: str = "1.0.0", description: str = "") -> str:
    """Return the manifest of an agent with these actions, each of them YAML."""
    return f"""\
apiVersion: actionvm/v1
kind: Agent
metadata: {{name: {name}, version: {version}, description: "{description}"}}
spec:
  model: {{use: local/babbler}}
  instructions: Do it.
  actions: [{", ".join(actions)}]
  budget: {{gas: 50000, per: day}}
"""


def asks(name: str, **fields: str) -> str:
    """Return an action that asks an agent."""
    return json.dumps({"use": f"agent:{name}", **fields})


async def assemble(workbench: Workbench, *manifests: str) -> Bundle:
    """Assemble manifests one after another; return the last bundle."""
    bundles = [(await workbench.assemble(text)).bundle for text in manifests]
    return bundles[-1]


def actions_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the actions in a bundle."""
    actions: list[dict[str, Any]] = json.loads(bundle.payload)["actions"]
    return actions


async def refused(workbench: Workbench, text: str) -> Problem:
    """Return the one problem of a manifest."""
    with pytest.raises(InvalidManifest) as raised:
        await workbench.assemble(text)
    (problem,) = raised.value.problems
    return problem


async def test_a_bundle_that_asks_an_agent_is_as_agreed(
    assert_golden: Callable[[str, str], None],
) -> None:
    translator = agent("translator", description="Translates into French")
    text = agent("researcher", "{use: agent:translator, limits: {per_run: 2}, required: true}")
    bundle = await assemble(Workbench(), translator, text)
    readable = json.dumps(json.loads(bundle.payload), indent=2, ensure_ascii=False)

    assert_golden("assembler_researcher.txt", f"{text}\n--- {bundle.name}\n\n{readable}\n")


async def test_an_agent_is_pinned_by_its_digest() -> None:
    workbench = Workbench()
    translator = await assemble(workbench, agent("translator"))
    researcher = await assemble(workbench, agent("researcher", asks("translator")))

    assert actions_of(researcher)[0]["program"] == f"agent:{translator.name}"


async def test_of_several_bundles_of_an_agent_the_one_assembled_last_is_asked() -> None:
    workbench = Workbench()
    first, second = (agent("translator", description=text) for text in ("first", "second"))
    await assemble(workbench, first, second, first)
    researcher = await assemble(workbench, agent("researcher", asks("translator")))

    assert actions_of(researcher)[0]["description"] == "first"


async def test_a_version_of_an_agent_may_be_named() -> None:
    workbench = Workbench()
    old = await assemble(workbench, agent("translator", version="1.2.0"))
    await assemble(workbench, agent("translator", version="2.0.0"))
    researcher = await assemble(workbench, agent("researcher", asks("translator@1.2.0")))

    assert actions_of(researcher)[0]["program"] == f"agent:{old.name}"


@pytest.mark.parametrize(
    ("actions", "effect"), [((), "read"), ((SEARCHES,), "read"), ((SEARCHES, POSTS), "write")]
)
async def test_asking_an_agent_writes_if_it_writes(actions: tuple[str, ...], effect: str) -> None:
    workbench = Workbench()
    await assemble(workbench, agent("clerk", *actions))
    bundle = await assemble(workbench, agent("boss", asks("clerk")))

    assert actions_of(bundle)[0]["effect"] == effect


async def test_asking_an_agent_writes_if_one_that_it_asks_does() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("clerk", POSTS), agent("head", asks("clerk")))
    bundle = await assemble(workbench, agent("boss", asks("head")))

    assert actions_of(bundle)[0]["effect"] == "write"


async def test_a_model_is_told_something_of_an_agent_that_says_nothing_of_itself() -> None:
    bundle = await assemble(Workbench(), agent("clerk"), agent("boss", asks("clerk")))

    assert actions_of(bundle)[0]["description"] == "Asks the agent clerk."


async def test_asking_is_not_priced_because_who_is_asked_pays() -> None:
    workbench = Workbench()
    workbench.peers.quotes.unpriced.add("action clerk.ask")

    assert await assemble(workbench, agent("clerk"), agent("boss", asks("clerk")))


# --- Refusals ------------------------------------------------------------------------------------


async def test_an_agent_that_was_never_assembled_is_reported_with_its_place_and_the_fix() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("translator"))
    problem = await refused(workbench, agent("researcher", asks("translater")))

    assert str(problem) == (
        "agent.yaml:7:21: spec.actions[0].use: no agent `translater` was assembled here"
    )
    assert problem.fix == (
        "Assemble it first: `actionvm assemble FILE`. Did you mean `translator`?"
    )


async def test_a_version_that_was_never_assembled_is_reported() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("translator"))
    problem = await refused(workbench, agent("researcher", asks("translator@9.0.0")))

    assert problem.code == Code.AGENT_NOT_FOUND
    assert problem.message == "no version 9.0.0 of `translator` was assembled here"


async def test_an_agent_that_would_be_asked_by_one_that_it_asks_is_refused() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("a"), agent("b", asks("a")), agent("c", asks("b")))
    problem = await refused(workbench, agent("a", asks("c"), version="2.0.0"))

    assert (problem.code, problem.message) == (Code.AGENT_REPEATED, "`c` asks `a` in the end")


async def test_the_longest_chain_assembles_and_a_longer_one_is_refused() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("a1"))
    for number in range(2, CHAIN_LENGTH_MAX + 1):
        await assemble(workbench, agent(f"a{number}", asks(f"a{number - 1}")))
    problem = await refused(workbench, agent("boss", asks(f"a{CHAIN_LENGTH_MAX}")))

    assert problem.code == Code.CALLS_TOO_DEEP


async def test_two_versions_of_an_agent_would_be_one_action() -> None:
    workbench = Workbench()
    await assemble(workbench, agent("clerk"))
    problem = await refused(workbench, agent("boss", asks("clerk"), asks("clerk@1.0.0")))

    assert (problem.code, problem.field) == (Flaw.DUPLICATE_ITEM, "spec.actions[1].use")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"credential": "board-key"}, Code.CREDENTIAL_UNUSED),
        ({"settings": {"url": "http://b"}}, Flaw.UNKNOWN_FIELD),
    ],
)
async def test_an_agent_is_given_neither_keys_nor_settings(fields: Any, code: Code) -> None:  # noqa: ANN401  # YAML
    workbench = Workbench()
    await assemble(workbench, agent("clerk"))
    problem = await refused(workbench, agent("boss", asks("clerk", **fields)))

    assert problem.code == code
