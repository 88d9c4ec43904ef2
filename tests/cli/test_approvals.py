"""Calls that wait for a person: what is shown of them, and what is decided."""

from __future__ import annotations

import json

import pytest

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2 as pb
from chassis.canonical import sha256_hex
from chassis.receivers import receiver_name
from chassis.seal import Seal

from .conftest import FakeSystem, Invoke
from .fake_keymanager import APPROVAL
from .fakes import RUN

NAME = f"{RUN}/approvals/step-1-1"
ARGUMENTS = json.dumps({"text": "x" * 200, "to": "anna"})
SHA256 = sha256_hex(ARGUMENTS.encode())


def waiting(approval: str = "") -> pb.Approval:
    """Return a call that waits."""
    return pb.Approval(
        name=NAME,
        call=action_pb2.ActionCall(id="step-1-1", action="board.post", arguments=ARGUMENTS),
        arguments_digest=action_pb2.Digest(sha256=SHA256),
        account="agents/poster",
        approval=approval,
        rule="approval: ask",
    )


@pytest.fixture
def system(system: FakeSystem) -> FakeSystem:
    system.runtime.waiting = [waiting()]
    return system


def test_calls_and_uses_are_in_one_list(system: FakeSystem, invoke: Invoke) -> None:
    text = invoke("approvals", "list").stdout

    assert "step-1-1" in text
    assert "approval: ask" in text
    assert "sign-transaction with wallet" in text


def test_a_use_of_a_key_by_a_call_is_listed_once(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.waiting = [waiting(approval=APPROVAL)]

    text = invoke("approvals", "list").stdout

    assert "board.post" in text
    assert "sign-transaction" not in text


def test_json_has_the_exact_arguments(system: FakeSystem, invoke: Invoke) -> None:
    (call,) = json.loads(invoke("approvals", "list", "--json").stdout)["calls"]

    assert call["call"]["arguments"] == ARGUMENTS


def test_one_call_is_shown_whole_with_the_way_to_approve_it(
    system: FakeSystem, invoke: Invoke
) -> None:
    text = "".join(invoke("approvals", "show", NAME).stdout.split())

    assert "".join(ARGUMENTS.split()) in text
    assert f"--arguments-sha256{SHA256}" in text


@pytest.mark.parametrize(("verb", "allow"), [("approve", True), ("deny", False)])
@pytest.mark.parametrize("name", [NAME, NAME.removeprefix("runs/")])
def test_a_call_is_decided_with_the_arguments_that_were_shown(
    system: FakeSystem, invoke: Invoke, *, verb: str, allow: bool, name: str
) -> None:
    invoke("approvals", verb, name)

    (decided,) = system.runtime.decided
    assert (decided.name, decided.allow) == (NAME, allow)
    assert decided.arguments_digest.sha256 == SHA256
    assert system.policy.decided == {}


def test_a_decision_says_which_arguments_it_means(system: FakeSystem, invoke: Invoke) -> None:
    invoke("approvals", "approve", NAME, "--arguments-sha256", 64 * "0")

    assert system.runtime.decided[0].arguments_digest.sha256 == 64 * "0"


def test_a_call_that_waits_no_longer_is_not_decided(system: FakeSystem, invoke: Invoke) -> None:
    system.runtime.waiting = []

    result = invoke("approvals", "approve", NAME)

    assert "no call waits for" in result.stderr
    assert system.runtime.decided == []


def test_the_secret_of_a_webhook_is_that_which_signs(system: FakeSystem, invoke: Invoke) -> None:
    key, url = 32 * b"k", "https://chat.example.com/hooks"
    system.home.webhook_key_file.write_bytes(key)

    shown = invoke("approvals", "secret", url).stdout.strip()

    assert shown == Seal(key).secret(receiver_name(url))


def test_without_a_key_there_is_no_secret(system: FakeSystem, invoke: Invoke) -> None:
    system.home.webhook_key_file.unlink(missing_ok=True)

    assert "no key of webhooks" in invoke("approvals", "secret", "https://a").stderr
