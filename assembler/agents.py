"""Other agents as actions: found among the bundles that were assembled here, pinned by digest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from chassis.canonical import Json

from .actions import AGENT
from .bundle import Bundle
from .ports import KnownAction
from .store import BundleStore

# Agents that may wait for each other, the one that somebody outside asks among them; the runtime
# starts no more.
CHAIN_LENGTH_MAX = 8

# The runtime accepts no other: one text, which becomes the input of the run.
REQUEST_SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"request": {"type": "string", "minLength": 1, "maxLength": 1_000}},
    "required": ["request"],
    "additionalProperties": False,
}
ANSWER_SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Agent:
    """An agent that can be asked: `action` is what it is to the one who asks.

    `accounts` are its own and those of all that it may ask in the end, in chains of up to
    `chain_length` agents with itself.
    """

    action: KnownAction
    accounts: frozenset[str]
    chain_length: int


def account_of(use: str) -> str:
    """Return the account of the agent that an action names; empty if it names none."""
    name = use.removeprefix(AGENT).partition("@")[0]
    return f"agents/{name}" if use.startswith(AGENT) else ""


def find_agents(store: BundleStore, uses: Iterable[str]) -> dict[str, Agent]:
    """Return the agents that actions name, by what they are called there, as far as they exist."""
    known: dict[str, Agent] = {}
    found: dict[str, Agent] = {}
    for use in uses:
        account, version = account_of(use), use.partition("@")[2]
        bundle = store.newest(account, version) if account else None
        if bundle is not None:
            found[use] = _read(store, bundle, known)
    return found


def _read(store: BundleStore, bundle: Bundle, known: dict[str, Agent]) -> Agent:
    """Return what a bundle is to who asks it; `known` has those that were read before, by name."""
    if bundle.name in known:
        return known[bundle.name]
    payload = json.loads(bundle.payload)
    programs = [
        one["program"]
        for action in payload["actions"]
        for one in (action, *action.get("code", {}).get("grants", ()))
    ]
    asked = [
        _read(store, store.get(program.removeprefix(AGENT)), known)
        for program in programs
        if program.startswith(AGENT)
    ]
    name = payload["agent"]["name"]
    writes = any(action["effect"] == "write" for action in payload["actions"])
    action = KnownAction(
        name=f"{name}.ask",
        program=f"{AGENT}{bundle.name}",
        description=payload["agent"]["description"] or f"Asks the agent {name}.",
        parameters_schema=REQUEST_SCHEMA,
        # What an agent asks for is one of its actions, so this goes for all below it.
        effect="write" if writes else "read",
        needs_credential=False,
        settings_schema={"type": "object", "additionalProperties": False},
        output_schema=ANSWER_SCHEMA,
    )
    known[bundle.name] = Agent(
        action=action,
        accounts=frozenset({bundle.account}).union(*(agent.accounts for agent in asked)),
        chain_length=1 + max((agent.chain_length for agent in asked), default=0),
    )
    return known[bundle.name]
