"""The packaged policy lets each service do its work, and nobody anything else."""

from __future__ import annotations

from itertools import product

import pytest

from keymanager.policy.decision import decide
from keymanager.policy.document import default_policy
from keymanager.policy.rule import Verdict

from .questions import ListedCounts, asking

CALLERS = ("assembler", "runtime", "linker", "knowledge", "gas", "operator", "")
SECRETS = ("keys/bundles", "keys/receipts", "secrets/board-key", "keys/other")
KINDS = ("api-key", "ed25519")
KNOWLEDGE = ("generate-data-key", "encrypt", "decrypt", "rewrap")
OPERATIONS = (
    "sign-message",
    "sign-transaction",
    "sign-digest",
    "hmac",
    "public-key",
    "release",
    *KNOWLEDGE,
)
PURPOSES = ("bundle", "receipt", "request", "generation", "knowledge", "")


def _is_meant(caller: str, secret: str, kind: str, operation: str, purpose: str) -> bool:
    if operation == "sign-digest":
        return False
    if (caller, purpose) == ("knowledge", "knowledge"):
        return operation in KNOWLEDGE
    if (caller, purpose) == ("assembler", "bundle"):
        return (secret, operation) == ("keys/bundles", "sign-message")
    if (caller, purpose) == ("runtime", "receipt"):
        return (secret, operation) == ("keys/receipts", "sign-message")
    if (caller, purpose) == ("runtime", "request"):
        return secret == "secrets/board-key" and operation not in ("release", *KNOWLEDGE)
    if (caller, purpose) == ("linker", "generation"):
        return (secret, kind, operation) == ("secrets/board-key", "api-key", "release")
    return False


@pytest.mark.parametrize("caller", CALLERS)
def test_the_default_allows_what_is_meant_and_nothing_else(caller: str) -> None:
    policy = default_policy()
    for secret, kind, operation, purpose in product(SECRETS, KINDS, OPERATIONS, PURPOSES):
        question = asking(
            caller=caller, secret=secret, kind=kind, operation=operation, purpose=purpose
        )
        allowed = decide(policy, question, ListedCounts()).verdict is Verdict.ALLOW
        assert allowed == _is_meant(caller, secret, kind, operation, purpose), question


@pytest.mark.parametrize("operation", ["bearer", "key-header", "key-url"])
def test_a_key_that_is_sent_as_it_is_goes_to_services_that_have_such_keys(operation: str) -> None:
    def allowed(facts: dict[str, str], kind: str = "api-key") -> bool:
        question = asking(
            facts,
            caller="runtime",
            secret="secrets/board-key",
            kind=kind,
            operation=operation,
            purpose="request",
        )
        return decide(default_policy(), question, ListedCounts()).verdict is Verdict.ALLOW

    assert allowed({"host": "discord.com"})
    assert not allowed({"host": "discord.com"}, kind="basic")
    for host in ("discord.com.example.org", "discord.com:8443", "api.discord.com", "127.0.0.1"):
        assert not allowed({"host": host})
    assert not allowed({})
