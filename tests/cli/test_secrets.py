"""The commands that keep keys, on a key manager that is a dictionary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actionvm.keymanager.v1 import keymanager_pb2 as pb

from .conftest import FakeSystem, Invoke


def test_the_value_of_a_secret_comes_from_standard_input_without_its_newline(
    system: FakeSystem, invoke: Invoke
) -> None:
    invoke("secrets", "put", "api", stdin="s3cret\n")

    assert system.keymanager.values == {"secrets/api": b"s3cret"}


def test_the_value_of_a_secret_comes_from_a_file(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "value").write_bytes(b"s3cret")

    invoke("secrets", "put", "api", "--value-file", str(tmp_path / "value"))

    assert system.keymanager.values == {"secrets/api": b"s3cret"}


def test_a_value_is_never_printed(system: FakeSystem, invoke: Invoke) -> None:
    assert "s3cret" not in invoke("secrets", "put", "api", "--json", stdin="s3cret").output


def test_an_empty_value_is_refused(system: FakeSystem, invoke: Invoke) -> None:
    assert invoke("secrets", "put", "api", stdin="\n").exit_code == 2


def test_a_rotated_secret_has_the_new_value(system: FakeSystem, invoke: Invoke) -> None:
    invoke("secrets", "rotate", "api", stdin="new")

    assert system.keymanager.values == {"secrets/api": b"new"}


def test_all_pages_of_a_list_are_read(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values = {f"secrets/{letter}": b"" for letter in "abcde"}

    found = json.loads(invoke("secrets", "list", "--json").stdout)["secrets"]

    assert [secret["name"][-1] for secret in found] == list("abcde")


def test_nothing_is_shredded_without_a_yes(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values = {"secrets/api": b""}

    result = invoke("secrets", "shred", "api", stdin="y\n")

    assert result.exit_code == 2
    assert system.keymanager.values


def test_a_yes_shreds(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values = {"secrets/api": b""}

    invoke("secrets", "shred", "api", "--yes")

    assert not system.keymanager.values


def test_a_secret_is_put_into_a_tenant(system: FakeSystem, invoke: Invoke) -> None:
    invoke("secrets", "put", "api", "--tenant", "acme", stdin="v")

    assert system.keymanager.tenants == {"secrets/api": "tenants/acme"}


def test_the_old_value_may_work_for_a_while(system: FakeSystem, invoke: Invoke) -> None:
    invoke("secrets", "rotate", "api", "--grace", "60", stdin="new")

    assert system.keymanager.grace_seconds == 60


def test_one_old_version_is_shredded(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values = {"secrets/api": b""}

    invoke("secrets", "shred", "keys/knowledge", "--version", "1", "--yes")

    assert system.keymanager.shredded_versions == [("keys/knowledge", 1)]
    assert system.keymanager.values


def test_a_disabled_secret_is_listed_as_such(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values = {"secrets/api": b""}

    invoke("secrets", "disable", "api")

    assert "disabled" in invoke("secrets", "list").stdout


def test_an_enabled_secret_is_listed_as_such(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.values, system.keymanager.disabled = {"secrets/api": b""}, {"secrets/api"}

    invoke("secrets", "enable", "api")

    assert "enabled" in invoke("secrets", "list").stdout


def test_a_key_is_shown_with_its_public_key(system: FakeSystem, invoke: Invoke) -> None:
    system.keymanager.kind = pb.KIND_ED25519

    assert system.keymanager.public_key.hex() in invoke("secrets", "show", "key").stdout


def test_all_secrets_of_a_tenant_are_shredded(system: FakeSystem, invoke: Invoke) -> None:
    invoke("secrets", "put", "a", "--tenant", "acme", stdin="v")
    invoke("secrets", "put", "b", stdin="v")

    invoke("secrets", "shred", "tenants/acme", "--yes")

    assert system.keymanager.values == {"secrets/b": b"v"}


ENV = """
# keys
OPENAI_API_KEY=sk-1 # mine
export BOARD_TOKEN="two words # whole"
EMPTY=
"""


def test_a_dotenv_file_is_imported(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV)

    invoke("secrets", "import", str(tmp_path / ".env"))

    assert system.keymanager.values == {
        "secrets/openai-api-key": b"sk-1",
        "secrets/board-token": b"two words # whole",
    }


LINES = "-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (f'A="{LINES}"\n', LINES),
        ("A='x' # comment\n", "x"),
        ("export A=x\n", "x"),
        ("\ufeffA=x\n", "x"),
        ('A="x\\ny"\n', "x\ny"),
        ("A='x\\ny'\n", "x\\ny"),
        ("A=x\x0by\n", "x\x0by"),
        ("A=x\u2028y\r\n", "x\u2028y"),
        ("A=x#y\n", "x#y"),
        ("A = x\n", "x"),
        ('\ufeff{"A": "x"}', "x"),
    ],
)
def test_values_are_read_as_people_write_them(
    system: FakeSystem, invoke: Invoke, tmp_path: Path, content: str, value: str
) -> None:
    (tmp_path / ".env").write_bytes(content.encode())

    invoke("secrets", "import", str(tmp_path / ".env"))

    assert system.keymanager.values == {"secrets/a": value.encode()}


def test_a_refused_value_does_not_keep_out_the_others(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    system.keymanager.values = {"secrets/a": b"old"}
    system.keymanager.refused = {"secrets/b"}
    (tmp_path / ".env").write_text("A=a\nB=b\nC=c\n")

    result = invoke("secrets", "import", str(tmp_path / ".env"), "--json")

    assert [
        one["outcome"].split(":")[0].split(";")[0] for one in json.loads(result.stdout)["imported"]
    ] == [
        "was there already",
        "refused",
        "stored",
    ]
    assert result.exit_code == 1
    assert system.keymanager.values == {"secrets/a": b"old", "secrets/c": b"c"}


def test_a_json_file_is_imported(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"X": {"token": "t"}, "Y": "y"}))

    invoke("secrets", "import", str(tmp_path / "keys.json"), "--kind", "oauth1")

    assert system.keymanager.values == {"secrets/x": b'{"token": "t"}', "secrets/y": b"y"}


def test_the_environment_is_imported_below_a_prefix(
    system: FakeSystem, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_API_KEY", "v")

    invoke("secrets", "import", "--prefix", "AGENT_")

    assert system.keymanager.values == {"secrets/api-key": b"v"}


def test_an_import_leaves_what_is_there(system: FakeSystem, invoke: Invoke, tmp_path: Path) -> None:
    system.keymanager.values = {"secrets/a": b"old"}
    (tmp_path / ".env").write_text("A=new\nB=b\n")

    result = invoke("secrets", "import", str(tmp_path / ".env"))

    assert "was there already" in result.stdout
    assert system.keymanager.values == {"secrets/a": b"old", "secrets/b": b"b"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\nhello s3cret\n", "line 2 is not NAME=value"),
        (b'A="s3cret\n', "line 1 is not NAME=value, or its quote has no end"),
        (b"A_B=s3cret\na_b=other\n", "'A_B' and 'a_b' would both be the secret a-b"),
        (b'{"A_B": "s3cret", "A-B": "x"}', "'A_B' and 'A-B' would both be the secret a-b"),
        (b'{"A": "s3cret", "A": "x"}', "'A' and 'A' would both be the secret a"),
        (b'{"A": "s3cret", "B": null}', "the value of 'B' is null"),
        (b'{"A": "s3cret\\ud800"}', "the value of 'A' is no text"),
        (b"\xff", "it is not UTF-8 text"),
        (b'{"A": s3cret}', "it is not JSON"),
        (b"# nothing\n", "has no values"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_without_its_values(
    system: FakeSystem, invoke: Invoke, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / ".env").write_bytes(content)

    result = invoke("secrets", "import", str(tmp_path / ".env"))

    assert result.exit_code == 2
    assert problem in result.stderr
    assert "s3cret" not in result.output
    assert not system.keymanager.values


def test_the_whole_environment_is_not_imported(invoke: Invoke) -> None:
    assert "--prefix" in invoke("secrets", "import").stderr
