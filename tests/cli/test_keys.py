"""The commands that say who may use keys, and those for the worst day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from actionvm.keymanager.v1 import keymanager_pb2, use_pb2

from .conftest import FakeSystem, Invoke
from .fake_keymanager import APPROVAL


def test_the_policy_is_shown_as_it_can_be_put(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("policy", "show").stdout == system.policy.content


def test_a_policy_is_put(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: [new]\n")

    result = invoke("policy", "put", str(tmp_path / "policy.yaml"))

    assert "policy 3 is in force" in result.stdout
    assert system.policy.content == "rules: [new]\n"


def test_a_checked_policy_is_not_put(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: [new]\n")

    assert "is valid" in invoke("policy", "check", str(tmp_path / "policy.yaml")).stdout
    assert system.policy.content == "rules: []\n"


def test_problems_of_a_policy_are_told_with_their_place(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("modle: 1\n")

    result = invoke("policy", "put", str(tmp_path / "policy.yaml"))

    assert result.exit_code == 2
    assert "agent.yaml:3:5: error UNKNOWN_FIELD" in result.stderr


def test_a_denied_use_ends_with_one(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("policy", "evaluate", "board-key", "--agent", "market-brief")

    assert result.exit_code == 1
    assert "denied by rule posts: at night" in result.stdout
    assert system.policy.asked[0].use.purpose == keymanager_pb2.PURPOSE_REQUEST


def test_an_allowed_use_ends_with_zero(system: FakeSystem, invoke: Invoke) -> None:
    system.policy.allows = True

    assert invoke("policy", "evaluate", "wallet", "--transaction", "0x02f8").exit_code == 0
    assert system.policy.asked[0].use.transaction == b"\x02\xf8"


def test_a_request_is_evaluated(system: FakeSystem, invoke: Invoke) -> None:
    url = "POST https://api.x.com/2/tweets"
    invoke("policy", "evaluate", "x", "--url", url, "--scheme", "oauth1", "--caller", "runtime")

    asked = system.policy.asked[0].authorize
    assert (asked.method, asked.url) == ("POST", "https://api.x.com/2/tweets")
    assert asked.scheme == use_pb2.AuthorizeRequestRequest.SCHEME_OAUTH1


AWS = ("--scheme", "aws-sigv4", "--service", "s3", "--region", "us-east-1", "--presign", "60")
EVALUATIONS: list[tuple[tuple[str, ...], dict[str, object]]] = [
    (
        ("--url", "GET https://s3.amazonaws.com/a", *AWS),
        {
            "caller": "runtime",
            "authorize": {
                "credential": "secrets/x",
                "method": "GET",
                "url": "https://s3.amazonaws.com/a",
                "scheme": "SCHEME_AWS_SIGV4",
                "service": "s3",
                "region": "us-east-1",
                "presign": "60s",
            },
        },
    ),
    (
        ("--url", "GET https://a", "--scheme", "cdp", "--key-id", "k"),
        {
            "caller": "runtime",
            "authorize": {
                "credential": "secrets/x",
                "method": "GET",
                "url": "https://a",
                "scheme": "SCHEME_CDP",
                "key_id": "k",
            },
        },
    ),
    (
        ("--url", "GET https://a", "--scheme", "key-header", "--key-header", "x-api-key"),
        {
            "caller": "runtime",
            "authorize": {
                "credential": "secrets/x",
                "method": "GET",
                "url": "https://a",
                "scheme": "SCHEME_KEY_HEADER",
                "key_header": "x-api-key",
            },
        },
    ),
    (
        ("--url", "smtps://a:465", "--scheme", "smtp"),
        {
            "caller": "runtime",
            "authorize": {
                "credential": "secrets/x",
                "url": "smtps://a:465",
                "scheme": "SCHEME_SMTP",
            },
        },
    ),
    (
        ("--public-key", "--caller", "assembler"),
        {"caller": "assembler", "public_key": {"key": "secrets/x"}},
    ),
    (
        ("--data", "rewrap", "--context", "collections/a", "--agent", "b"),
        {
            "caller": "knowledge",
            "account": "agents/b",
            "rewrap": {"key": "secrets/x", "context": "collections/a"},
        },
    ),
    (
        ("--personal-message", "hi"),
        {
            "caller": "runtime",
            "use": {"key": "secrets/x", "purpose": "PURPOSE_REQUEST", "personal_message": "aGk="},
        },
    ),
    (
        ("--message", "hi", "--purpose", "bundle", "--caller", "assembler"),
        {
            "caller": "assembler",
            "use": {"key": "secrets/x", "purpose": "PURPOSE_BUNDLE", "message": "aGk="},
        },
    ),
]


@pytest.mark.parametrize(("options", "asked"), EVALUATIONS, ids=lambda value: str(value)[:30])
def test_every_use_is_evaluated_as_it_would_be_made(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...], asked: dict[str, object]
) -> None:
    invoke("policy", "evaluate", "x", *options)

    (request,) = system.policy.asked
    assert MessageToDict(request, preserving_proto_field_name=True) == asked


def test_typed_data_is_evaluated_from_its_file(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "permit.json").write_text('{"types": {}}')
    invoke("policy", "evaluate", "x", "--typed-data", str(tmp_path / "permit.json"))

    assert system.policy.asked[0].use.typed_data == '{"types": {}}'


@pytest.mark.parametrize(
    "options", [("--release",), ("--data", "decrypt"), ("--data", "generate-data-key")]
)
def test_what_is_handed_out_is_evaluated_for_a_recipient(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...]
) -> None:
    invoke("policy", "evaluate", "keys/knowledge", *options)

    (request,) = system.policy.asked
    asked = getattr(request, request.WhichOneof("other") or "")
    assert len(asked.recipient_key) == 32
    assert "keys/knowledge" in {getattr(asked, "key", ""), getattr(asked, "name", "")}
    assert request.caller == ("linker" if options == ("--release",) else "knowledge")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--release", "--data", "encrypt"), "are different uses"),
        (("--data", "magic"), "one of encrypt"),
        (("--purpose", "fun"), "one of request"),
        (("--transaction", "0xzz"), "no hexadecimal digits"),
    ],
)
def test_a_use_that_is_none_is_refused(
    system: FakeSystem, invoke: Invoke, options: tuple[str, ...], told: str
) -> None:
    result = invoke("policy", "evaluate", "x", *options)

    assert result.exit_code == 2
    assert told in result.stderr
    assert system.policy.asked == []


def test_an_unknown_scheme_is_refused(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("policy", "evaluate", "x", "--url", "GET https://a", "--scheme", "magic")

    assert "one of oauth1" in result.stderr


def test_what_waits_is_listed_with_what_is_known_of_it(system: FakeSystem, invoke: Invoke) -> None:
    line = invoke("approvals", "list").stdout

    assert "sign-transaction with wallet" in line
    assert "value 5" in line


def test_what_is_known_of_a_use_is_json_too(system: FakeSystem, invoke: Invoke) -> None:
    (approval,) = json.loads(invoke("approvals", "list", "--json").stdout)["approvals"]

    assert approval["facts"] == {"value": "5"}


def test_a_use_is_approved(system: FakeSystem, invoke: Invoke) -> None:
    invoke("approvals", "approve", APPROVAL)

    assert system.policy.decided == {APPROVAL: True}


def test_a_use_is_denied(system: FakeSystem, invoke: Invoke) -> None:
    invoke("approvals", "deny", APPROVAL.removeprefix("approvals/"))

    assert system.policy.decided == {APPROVAL: False}


def test_a_backup_is_written_and_its_shares_are_shown(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("recovery", "backup", "-o", str(tmp_path / "keys"), "-k", "2", "-n", "3")

    assert (tmp_path / "keys").read_bytes() == b"sealed"
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    assert "share 3: word 2" in result.stdout


def test_shares_come_from_standard_input(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_bytes(b"sealed")

    result = invoke("recovery", "restore", str(tmp_path / "keys"), stdin="word 0\n\nword 1\n")

    assert "7 secrets are back" in result.stdout
    assert list(system.recovery.restored[0].shares) == [b"word 0", b"word 1"]


def test_shares_come_from_files(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    for name in ("keys", "a", "b"):
        (tmp_path / name).write_text(name)
    files = [part for name in "ab" for part in ("--share-file", str(tmp_path / name))]

    invoke("recovery", "restore", str(tmp_path / "keys"), *files)

    assert list(system.recovery.restored[0].shares) == [b"a", b"b"]


def test_the_root_is_not_replaced_without_a_yes(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("recovery", "rotate-root").exit_code == 2


def test_the_root_is_replaced(system: FakeSystem, invoke: Invoke) -> None:
    answer = json.loads(invoke("recovery", "rotate-root", "--yes", "--json").stdout)

    assert answer == {"rotated": True}
