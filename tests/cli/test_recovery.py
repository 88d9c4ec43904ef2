"""Holders of shares: their keys stay with them, and what is sealed to them opens offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.home import Home

from .conftest import FakeSystem, Invoke


@pytest.fixture
def alice(invoke: Invoke, tmp_path: Path) -> str:
    """Make the key of a holder, and return its public half."""
    return invoke("recovery", "make-key", str(tmp_path / "alice.key")).stdout.strip()


def test_only_the_holder_reads_the_key(alice: str, tmp_path: Path) -> None:
    assert (tmp_path / "alice.key").stat().st_mode & 0o777 == 0o600
    assert alice not in (tmp_path / "alice.key").read_text()


def test_a_key_is_not_overwritten(alice: str, invoke: Invoke, tmp_path: Path) -> None:
    before = (tmp_path / "alice.key").read_bytes()

    assert invoke("recovery", "make-key", str(tmp_path / "alice.key")).exit_code == 2
    assert (tmp_path / "alice.key").read_bytes() == before


def test_a_registered_holder_gets_a_share_that_opens_with_the_key(
    alice: str, system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    invoke("recovery", "add-holder", "alice", "--key", alice)
    system.recovery.holder_key = bytes.fromhex(alice)
    invoke("recovery", "backup", "-o", str(tmp_path / "keys"))
    share, key = tmp_path / "keys.alice.share", tmp_path / "alice.key"

    opened = invoke("recovery", "open-share", str(share), "--key-file", str(key))

    assert opened.stdout.strip() == "words of alice"
    assert share.stat().st_mode & 0o777 == 0o600


def test_a_share_that_is_sealed_to_a_named_key_opens_with_it(
    alice: str, system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    invoke("recovery", "backup", "-o", str(tmp_path / "keys"), "--holder", alice, "--holder", alice)
    share, key = tmp_path / "keys.2.share", tmp_path / "alice.key"

    opened = invoke("recovery", "open-share", str(share), "--key-file", str(key))

    assert opened.stdout.strip() == "words of alice"


def test_another_key_does_not_open_a_share(
    alice: str, system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    invoke("recovery", "make-key", str(tmp_path / "bob.key"))
    system.recovery.holder_key = bytes.fromhex(alice)
    invoke("recovery", "add-holder", "alice", "--key", alice)
    invoke("recovery", "backup", "-o", str(tmp_path / "keys"))
    share = str(tmp_path / "keys.alice.share")

    opened = invoke(
        "recovery", "open-share", share, "--key-file", str(tmp_path / "bob.key"), "--json"
    )

    assert (opened.exit_code, "SEALED_SHARE_INVALID" in opened.output) == (2, True)


def test_holders_come_and_go(alice: str, invoke: Invoke) -> None:
    invoke("recovery", "add-holder", "alice", "--key", alice)
    listed = json.loads(invoke("recovery", "holders", "--json").stdout)
    invoke("recovery", "remove-holder", "alice")

    assert listed == {"holders": [{"name": "alice", "key": alice}]}
    assert json.loads(invoke("recovery", "holders", "--json").stdout) == {"holders": []}


@pytest.mark.parametrize(("name", "key"), [("Alice", ""), ("bob", "00" * 32), ("bob", "x")])
def test_no_holder_is_registered_whom_nothing_can_be_sealed_to(
    alice: str, invoke: Invoke, name: str, key: str
) -> None:
    assert invoke("recovery", "add-holder", name, "--key", key or alice).exit_code == 2
    assert json.loads(invoke("recovery", "holders", "--json").stdout) == {"holders": []}


def recovery_of(invoke: Invoke) -> dict[str, str]:
    """Return what the doctor says of recovery."""
    findings = json.loads(invoke("doctor", "--json").stdout)["findings"]
    (found,) = [one for one in findings if one["check"] == "recovery"]
    assert isinstance(found, dict)
    return found


def test_the_doctor_says_that_there_are_no_holders(system: FakeSystem, invoke: Invoke) -> None:
    assert "takes all keys" in recovery_of(invoke)["detail"]


def test_the_doctor_names_the_holders(alice: str, system: FakeSystem, invoke: Invoke) -> None:
    invoke("recovery", "add-holder", "alice", "--key", alice)

    assert recovery_of(invoke)["detail"] == "shares are sealed to alice"


def test_one_key_is_no_two_holders(alice: str, invoke: Invoke) -> None:
    invoke("recovery", "add-holder", "alice", "--key", alice)

    assert invoke("recovery", "add-holder", "bob", "--key", alice).exit_code == 2


def test_a_damaged_file_of_holders_stops_a_backup(
    home: Home, system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    home.holders_file.write_text("{")

    assert invoke("recovery", "backup", "-o", str(tmp_path / "keys")).exit_code == 2
    assert not (tmp_path / "keys").exists()


def test_a_single_share_is_no_choice(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("recovery", "backup", "-o", str(tmp_path / "keys"), "-k", "1", "-n", "1")

    assert result.exit_code == 2
