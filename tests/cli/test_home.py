"""Tests of the home folder: private, made once, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from chassis.identity import OPERATOR, hash_token
from cli.files import write_private
from cli.home import Home
from cli.services import SERVICE_NAMES


def prepared(folder: Path) -> Home:
    home = Home(folder / "home")
    home.prepare(SERVICE_NAMES)
    return home


def test_nobody_else_may_enter_any_folder(tmp_path: Path) -> None:
    home = prepared(tmp_path)

    folders = [home.folder, *(path for path in home.folder.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_nobody_else_may_read_any_file(tmp_path: Path) -> None:
    home = prepared(tmp_path)

    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_every_service_and_the_operator_have_a_token_of_their_own(tmp_path: Path) -> None:
    home = prepared(tmp_path)

    tokens = {home.token_file(owner).read_text() for owner in (*SERVICE_NAMES, OPERATOR)}
    assert len(tokens) == len(SERVICE_NAMES) + 1


def test_the_identities_are_the_hashes_of_the_tokens(tmp_path: Path) -> None:
    home = prepared(tmp_path)

    expected = {
        hash_token(home.token_file(owner).read_text()): {"name": owner, "role": owner}
        for owner in (*SERVICE_NAMES, OPERATOR)
    }
    assert json.loads(home.identities_file.read_text()) == expected


def test_preparing_twice_keeps_every_token(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    before = home.operator_token()

    home.prepare(SERVICE_NAMES)

    assert home.operator_token() == before


def test_preparing_twice_keeps_the_secrets_of_webhooks(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    before = home.webhook_key_file.read_bytes()

    home.prepare(SERVICE_NAMES)

    assert home.webhook_key_file.read_bytes() == before


def test_a_home_that_was_half_made_is_completed(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    home.identities_file.unlink()
    home.token_file("gas").unlink()

    home.prepare(SERVICE_NAMES)

    known = json.loads(home.identities_file.read_text())
    assert known[hash_token(home.token_file("gas").read_text())]["name"] == "gas"


def test_a_draft_that_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_private(target, b"old")
    for draft in tmp_path.glob(".*"):
        draft.write_bytes(b"half")

    write_private(target, b"new")

    assert target.read_bytes() == b"new"


def test_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    home.log_file("gas").write_text("".join(f"line {n}\n" for n in range(10_000)))

    assert home.tail("gas", 2) == ["line 9998", "line 9999"]


def test_a_home_of_the_release_before_roles_is_taken_over(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    value = home.operator_token()
    home.identities_file.write_text(json.dumps({hash_token(value): OPERATOR}))

    home.prepare(SERVICE_NAMES)

    assert home.identities.read()[hash_token(value)].role == OPERATOR
