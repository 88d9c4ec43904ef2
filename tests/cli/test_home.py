"""Tests of the home folder: private, made once, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from chassis.identity import OPERATOR, Token, hash_token
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


def test_only_the_operator_has_a_token(tmp_path: Path) -> None:
    home = prepared(tmp_path)

    assert [file.name for file in home.tokens_dir.iterdir()] == [OPERATOR]
    assert json.loads(home.identities_file.read_text()) == {
        hash_token(home.operator_token()): {"name": OPERATOR, "role": OPERATOR}
    }


def test_the_tokens_that_services_had_are_forgotten(tmp_path: Path) -> None:
    home = prepared(tmp_path)
    value = home.identities.add(Token("gas", "gas"))
    home.token_file("gas").write_text(value)

    home.prepare(SERVICE_NAMES)

    assert not home.token_file("gas").exists()
    assert hash_token(value) not in home.identities.read()


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
    home.token_file(OPERATOR).unlink()

    home.prepare(SERVICE_NAMES)

    known = json.loads(home.identities_file.read_text())
    assert known[hash_token(home.operator_token())]["name"] == OPERATOR


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
