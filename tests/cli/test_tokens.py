"""The commands that let people in: shown once, hashed at rest, gone when removed."""

from __future__ import annotations

import json

import pytest

from chassis.identity import hash_token
from cli.home import Home

from .conftest import Invoke


def added(invoke: Invoke, *arguments: str) -> dict[str, str]:
    result = invoke("tokens", "add", *arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, str] = json.loads(result.stdout)
    return document


def test_a_token_is_shown_alone_so_that_a_shell_can_keep_it(invoke: Invoke) -> None:
    result = invoke("tokens", "add", "alice", "--role", "viewer")

    assert result.exit_code == 0
    assert len(result.stdout.strip()) == 43


def test_only_the_hash_of_a_token_is_kept(invoke: Invoke, home: Home) -> None:
    value = added(invoke, "alice", "--role", "auditor", "--expires", "30d")["token"]

    assert hash_token(value) in home.identities.read()
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if value in path.read_text(errors="replace")]


def test_a_token_has_a_role_and_an_end(invoke: Invoke, home: Home) -> None:
    value = added(invoke, "alice", "--role", "auditor", "--expires", "30d")["token"]

    token = home.identities.read()[hash_token(value)]
    assert (token.name, token.role) == ("alice", "auditor")
    assert token.expire_time is not None


def test_the_list_shows_people_and_no_value(invoke: Invoke) -> None:
    value = added(invoke, "alice", "--role", "viewer")["token"]

    result = invoke("tokens", "list", "--json")

    assert value not in result.stdout
    assert json.loads(result.stdout)["tokens"] == [
        {"name": "alice", "role": "viewer"},
        {"name": "operator", "role": "operator"},
    ]


def test_what_is_removed_is_gone(invoke: Invoke, home: Home) -> None:
    value = added(invoke, "alice", "--role", "viewer")["token"]

    assert invoke("tokens", "remove", "alice").exit_code == 0
    assert hash_token(value) not in home.identities.read()


def test_starting_again_keeps_the_tokens_of_people(invoke: Invoke, home: Home) -> None:
    value = added(invoke, "alice", "--role", "viewer")["token"]

    home.prepare(("gas",))

    assert home.identities.read()[hash_token(value)].name == "alice"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "alice", "--role", "gas"), "USAGE_INVALID"),
        (("add", "alice", "--role", "keymanager"), "USAGE_INVALID"),
        (("add", "Alice", "--role", "viewer"), "INVALID_FIELD"),
        (("add", "a/b", "--role", "viewer"), "INVALID_FIELD"),
        (("add", "operator", "--role", "operator"), "TOKEN_OWN"),
        (("add", "alice", "--role", "viewer", "--expires", "never"), "INVALID_FIELD"),
        (("add", "alice", "--role", "viewer", "--expires", "0d"), "INVALID_FIELD"),
        (("add", "alice", "--role", "viewer", "--expires", "-1d"), "INVALID_FIELD"),
        (("remove", "operator"), "TOKEN_OWN"),
        (("remove", "nobody"), "TOKEN_NOT_FOUND"),
    ],
)
def test_what_makes_no_sense_is_refused(
    invoke: Invoke, arguments: tuple[str, ...], reason: str
) -> None:
    result = invoke("tokens", *arguments, "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == reason


def test_a_name_is_given_once(invoke: Invoke) -> None:
    added(invoke, "alice", "--role", "viewer")

    result = invoke("tokens", "add", "alice", "--role", "operator", "--json")

    assert json.loads(result.stdout)["error"]["reason"] == "TOKEN_EXISTS"


def test_a_malformed_file_of_identities_is_told(invoke: Invoke, home: Home) -> None:
    home.identities_file.write_text('{"x": {"name": "alice"}}')

    result = invoke("tokens", "list", "--json")

    assert json.loads(result.stdout)["error"]["reason"] == "IDENTITIES_MALFORMED"
