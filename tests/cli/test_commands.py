"""Tests of the other commands against fakes: shapes of JSON, exit codes, and what is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli.commands.doctor import check_sandbox
from cli.home import Home
from cli.services import SERVICE_NAMES
from cli.state import Child, State, read_state
from keymanager.identity.own import publish
from sandbox.jail import Survey
from tests.keymanager.authorities import an_authority

from .conftest import FakeSystem, Invoke
from .fake_schedules import SCHEDULE
from .fakes import PROBLEM

# Every command that reads, with the key of its document.
READERS = {
    ("runs",): "runs",
    ("secrets", "list"): "secrets",
    ("knowledge", "list"): "collections",
    ("knowledge", "list", "market"): "documents",
    ("knowledge", "search", "ether", "-c", "market"): "passages",
    ("gas", "usage"): "rows",
    ("gas", "budget", "list", "fake"): "budgets",
    ("gas", "tenant", "fake"): "tenant",
    ("gas", "quote", "model local/babbler", "--usage", "output_tokens=3"): "gas",
    ("gas", "quote", "fake"): "quote",
    ("gas", "prices", "show"): "prices",
    ("gas", "prices", "list"): "tables",
    ("gas", "entries"): "entries",
    ("gas", "entries", "--verify"): "verified",
    ("gas", "drift"): "drifts",
    ("gas", "fees", "show"): "commission_basis_points",
    ("gas", "fees", "show", "fake", "--gas", "700"): "price",
    ("gas", "dao", "show", "founders"): "payouts",
    ("gas", "webhook", "list"): "webhooks",
    ("gas", "reports"): "reports",
    ("models", "list"): "models",
    ("status",): "services",
    ("tokens", "list"): "tokens",
    ("policy", "show"): "content",
    ("schedules", "list"): "schedules",
    ("schedules", "firings", SCHEDULE): "firings",
    ("schedules", "show", SCHEDULE): "bundle",
    ("approvals", "list"): "approvals",
    ("recovery", "holders"): "holders",
}
COMMANDS = [
    *("up", "down", "status", "doctor", "validate", "assemble", "run", "runs", "show", "watch"),
    *("cancel", "verify", "demo", "secrets put", "secrets list", "secrets rotate", "secrets shred"),
    *("knowledge add", "knowledge search", "knowledge list"),
    *("gas usage", "gas quote", "gas tenant", "gas entries", "gas refund", "gas drift", "gas bill"),
    *("gas watch", "gas reports", "gas budget list", "gas budget set", "gas budget delete"),
    *("gas prices show", "gas prices list", "gas prices update", "gas fees show", "gas fees set"),
    *("gas dao show", "gas dao set", "gas webhook create", "gas webhook list"),
    *("gas webhook delete", "gas webhook replay"),
    *("models list", "models add", "models pull", "models remove"),
    *("tokens add", "tokens list", "tokens remove"),
    *("audit list", "audit export", "audit verify", "audit accept-rollback"),
    *("schedules create", "schedules list", "schedules show", "schedules firings"),
    *("schedules pause", "schedules resume", "schedules update", "schedules delete"),
    *("policy show", "policy put", "policy check", "policy evaluate"),
    *("approvals list", "approvals show", "approvals approve", "approvals deny"),
    "approvals secret",
    *("recovery backup", "recovery restore", "recovery rotate-root", "recovery holders"),
    *("recovery make-key", "recovery open-share", "recovery add-holder", "recovery remove-holder"),
    *("action new", "action check", "action test", "action run"),
    *("secrets import", "secrets show", "secrets enable", "secrets disable"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_an_example_and_has_json(invoke: Invoke, command: str) -> None:
    help_text = invoke(*command.split(), "--help").stdout

    assert re.search(rf"Example: actionvm --home \S+ {command}", help_text)
    assert "--json" in help_text


@pytest.mark.parametrize(("command", "key"), READERS.items(), ids=map(" ".join, READERS))
def test_a_command_that_reads_prints_one_json_document(
    system: FakeSystem, invoke: Invoke, command: tuple[str, ...], key: str
) -> None:
    result = invoke(*command, "--json")

    assert result.exit_code == 0, result.output
    assert key in json.loads(result.stdout)


@pytest.mark.parametrize("command", READERS, ids=map(" ".join, READERS))
def test_a_command_that_reads_prints_for_people(
    system: FakeSystem, invoke: Invoke, command: tuple[str, ...]
) -> None:
    result = invoke(*command)

    assert result.exit_code == 0
    assert result.stdout.strip()


def test_large_numbers_are_numbers_in_json(system: FakeSystem, invoke: Invoke) -> None:
    assert json.loads(invoke("gas", "usage", "--json").stdout)["rows"][0]["gas"] == 2**52


def test_a_wrong_option_is_told_as_json_where_json_was_asked_for(invoke: Invoke) -> None:
    result = invoke("runs", "--limit", "many", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "USAGE_INVALID"


def test_without_a_home_a_command_exits_with_3_and_names_the_way_out(
    invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("--home", str(tmp_path / "none"), "runs")

    assert result.exit_code == 3
    assert f"actionvm --home {tmp_path / 'none'} up" in result.stderr


def test_a_service_that_does_not_answer_exits_with_3(home: Home, invoke: Invoke) -> None:
    # A system that is down: its supervisor is gone, nothing is waited for.
    nowhere = {name: Child("127.0.0.1:1") for name in SERVICE_NAMES}
    State(1, 1.0, port_base=1, platform=Child(""), services=nowhere).write(home)
    publish(an_authority(), home.ca_file)

    result = invoke("secrets", "list", "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["reason"] == "UNREACHABLE"


def test_a_wrong_token_exits_with_2(system: FakeSystem, invoke: Invoke, home: Home) -> None:
    home.token_file("operator").write_text("stolen")

    result = invoke("runs")

    assert result.exit_code == 2
    assert "TOKEN_INVALID" in result.stderr


def test_a_valid_manifest_is_called_valid(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    assert "is valid" in invoke("validate", str(manifest)).stdout


def test_an_invalid_manifest_exits_with_2(
    system: FakeSystem, invoke: Invoke, manifest: Path
) -> None:
    system.assembler.problems = [PROBLEM]

    result = invoke("validate", str(manifest), "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"][0]["code"] == "UNKNOWN_FIELD"


def test_an_assembled_bundle_is_written_for_its_owner(
    system: FakeSystem, invoke: Invoke, manifest: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "agent.bundle"

    assert invoke("assemble", str(manifest), "-o", str(bundle)).exit_code == 0
    assert json.loads(bundle.read_text())["name"].startswith("bundles/")


def test_a_bundle_that_is_none_is_refused(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "agent.bundle").write_bytes(b'{"payload": "\xff')

    result = invoke("run", str(tmp_path / "agent.bundle"))

    assert result.exit_code == 2
    assert "BUNDLE_INVALID" in result.stderr


def test_a_document_is_named_after_its_file(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("ether moved")

    invoke("knowledge", "add", str(tmp_path / "a.md"), "-c", "market")

    assert system.knowledge.documents[0].name == "collections/market/documents/a.md"


def test_a_document_that_is_no_text_is_refused(
    system: FakeSystem, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff")

    assert invoke("knowledge", "add", str(tmp_path / "a.png"), "-c", "market").exit_code == 2


def test_status_without_a_system_exits_with_3(invoke: Invoke) -> None:
    assert invoke("status").exit_code == 3


def test_status_shows_why_a_service_stays_down(
    system: FakeSystem, invoke: Invoke, home: Home
) -> None:
    home.log_file("gas").write_text("SchemaTooNew: gas.db has schema 9\n")
    state = read_state(home)
    assert state is not None
    failed = Child("127.0.0.1:1", restarts=4, last_exit="exited with 1", failed=True)
    services = {**state.services, "gas": failed}
    replace(state, services=services).write(home)

    result = invoke("status")

    assert result.exit_code == 3
    assert "SchemaTooNew" in result.stderr


def test_doctor_says_that_key_storage_is_an_emulation(invoke: Invoke) -> None:
    assert "an emulation of sealed storage" in invoke("doctor").stdout


def test_doctor_says_what_would_hold_code(invoke: Invoke) -> None:
    found = json.loads(invoke("doctor", "--json").stdout)["findings"]

    (sandbox,) = (one for one in found if one["check"] == "sandbox")
    assert sandbox["detail"].startswith("code runs behind ")
    assert (sandbox["verdict"] == "ok") == (sandbox["fix"] == "")


@pytest.mark.parametrize(
    ("found", "verdict", "words"),
    [
        (Survey("/usr/bin/bwrap", "", landlock=7, seccomp=True), "ok", "landlock:7,seccomp"),
        (Survey("", "", landlock=7, seccomp=True), "note", "no bubblewrap: it is not installed"),
        (Survey("", "", landlock=0, seccomp=False), "note", "too little for code from others"),
    ],
)
def test_doctor_says_which_layer_is_missing(found: Survey, verdict: str, words: str) -> None:
    finding = check_sandbox(found)

    assert (finding.verdict, bool(finding.fix)) == (verdict, verdict == "note")
    assert words in finding.detail


@pytest.mark.parametrize("name", ["tokens/operator", "webhooks.key"])
def test_doctor_finds_keys_that_others_can_read(invoke: Invoke, home: Home, name: str) -> None:
    (home.folder / name).chmod(0o644)

    found = json.loads(invoke("doctor", "--json").stdout)["findings"]

    assert [one["verdict"] for one in found if one["check"] == "home"] == ["fail"]


@pytest.mark.parametrize("path", ["none.yaml", "."])
def test_a_file_that_cannot_be_read_is_an_operating_error(
    system: FakeSystem, invoke: Invoke, tmp_path: Path, path: str
) -> None:
    result = invoke("run", str(tmp_path / path))

    assert result.exit_code == 2
    assert "FILE_UNUSABLE" in result.stderr


def test_a_bundle_that_cannot_be_written_is_an_operating_error(
    system: FakeSystem, invoke: Invoke, manifest: Path, tmp_path: Path
) -> None:
    result = invoke("assemble", str(manifest), "-o", str(tmp_path / "none/agent.bundle"), "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout.splitlines()[-1])["error"]["reason"] == "FILE_UNUSABLE"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "\udcff"),
        ("run", "ab" * 32, "--input", '"\udcff"'),
        ("knowledge", "search", "\udcff", "-c", "market"),
        ("gas", "budget", "list", "\udcff"),
        ("gas", "usage", "--zone", "\udcff"),
        ("secrets", "shred", "\udcff", "--yes"),
        ("watch", "\udcff"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_an_argument_that_is_no_text_is_refused(
    system: FakeSystem, invoke: Invoke, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    assert invoke(*arguments, *form).exit_code == 2
