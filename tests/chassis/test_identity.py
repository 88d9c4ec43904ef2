"""Who may call what: tokens, their ends, a file that changes, and the tables of all services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import assembler.service
import gas.market.service
import gas.service
import keymanager.service
import keymanager.services.audit
import keymanager.services.policy
import keymanager.services.recovery
import keymanager.services.use
import knowledge.service
import linker.service
import runtime.service
from chassis.errors import MethodDenied, TokenInvalid
from chassis.identity import (
    ANYONE,
    AUDITOR,
    OPERATOR,
    VIEWER,
    Authorizer,
    IdentitiesFile,
    Shown,
    Token,
    format_identities,
    hash_token,
    parse_identities,
)
from tests.keymanager.vaults import HandSetClock

from .matrix import expected, written

TABLES: dict[str, Mapping[str, frozenset[str]]] = {
    "assembler": assembler.service.CALLERS,
    "gas": gas.service.CALLERS,
    "market": gas.market.service.CALLERS,
    "keymanager": keymanager.service.CALLERS,
    "use": keymanager.services.use.CALLERS,
    "policy": keymanager.services.policy.CALLERS,
    "audit": keymanager.services.audit.CALLERS,
    "recovery": keymanager.services.recovery.CALLERS,
    "knowledge": knowledge.service.CALLERS,
    "linker": linker.service.CALLERS,
    "runtime": runtime.service.CALLERS,
}
ROLES = (
    "assembler",
    "linker",
    "keymanager",
    "knowledge",
    "gas",
    "runtime",
    OPERATOR,
    AUDITOR,
    VIEWER,
)
READING = (
    *("Get", "List", "Watch", "Quote", "PriceRun", "SubscribeUsage"),
    *("EvaluateUse", "ExportAuditLog", "Prove", "ReplayRun", "DiffRuns"),
)


def shown(token: str) -> Shown:
    return Shown(f"Bearer {token}")


@pytest.mark.parametrize("service", TABLES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_call_what_the_table_lists_and_nothing_else(service: str, role: str) -> None:
    table = TABLES[service]
    authorizer = Authorizer({hash_token("t"): Token("somebody", role)}, table)
    for method, allowed in table.items():
        if role in allowed:
            assert authorizer.authorize(method, shown("t")).role == role
        elif ANYONE not in allowed:
            with pytest.raises(MethodDenied):
                authorizer.authorize(method, shown("t"))


@pytest.mark.parametrize("service", TABLES)
def test_a_table_lists_whom_the_callers_side_says(service: str) -> None:
    found = {method: sorted(allowed) for method, allowed in TABLES[service].items()}

    assert found == {method: sorted(expected(service, method)) for method in found}


def test_every_call_that_is_written_down_exists() -> None:
    assert written() <= {(one, method) for one, table in TABLES.items() for method in table}


@pytest.mark.parametrize("service", TABLES)
def test_who_only_reads_can_change_nothing(service: str) -> None:
    for method, allowed in TABLES[service].items():
        if {AUDITOR, VIEWER} & allowed:
            assert method.startswith(READING), method


@pytest.mark.parametrize("service", TABLES)
def test_an_auditor_may_all_that_a_viewer_may_and_an_operator_all_of_that(service: str) -> None:
    for method, allowed in TABLES[service].items():
        assert VIEWER not in allowed or AUDITOR in allowed, method
        assert AUDITOR not in allowed or OPERATOR in allowed, method


def test_a_method_outside_of_the_table_is_denied() -> None:
    authorizer = Authorizer({hash_token("t"): Token("alice", OPERATOR)}, {})

    with pytest.raises(MethodDenied):
        authorizer.authorize("Anything", shown("t"))


@pytest.mark.parametrize(
    "value", ["", "t", "Basic t", "Bearer", "Bearer ", "Bearer  t", "Bearer T"]
)
def test_what_is_no_bearer_token_is_refused(value: str) -> None:
    authorizer = Authorizer(
        {hash_token("t"): Token("alice", OPERATOR)}, {"Get": frozenset({OPERATOR})}
    )

    with pytest.raises(TokenInvalid):
        authorizer.authorize("Get", Shown(value))


def test_a_token_is_refused_from_its_end_on() -> None:
    clock = HandSetClock()
    token = Token("alice", OPERATOR, clock.now() + timedelta(days=1))
    authorizer = Authorizer({hash_token("t"): token}, {"Get": frozenset({OPERATOR})}, clock=clock)
    assert authorizer.authorize("Get", shown("t")).name == "alice"

    clock.advance(timedelta(days=1))

    with pytest.raises(TokenInvalid):
        authorizer.authorize("Get", shown("t"))


class Watch:
    """A monotonic clock that a test sets."""

    time = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.time


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "identities.json"
    path.write_bytes(format_identities({"a": Token("alice", VIEWER)}))
    return path


def test_a_changed_file_is_noticed_within_half_a_second(file: Path) -> None:
    watch = Watch()
    identities = IdentitiesFile(file, roles=None, monotonic=watch)
    file.write_bytes(format_identities({"b": Token("bob", VIEWER), "c": Token("c", VIEWER)}))
    assert identities.get("a") is not None

    watch.time = 0.5

    assert identities.get("a") is None
    assert identities.get("b") == Token("bob", VIEWER)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}', '{"a": {"name": "x"}}'])
def test_a_broken_change_changes_nothing(file: Path, content: str) -> None:
    watch = Watch()
    identities = IdentitiesFile(file, roles=None, monotonic=watch)
    file.write_text(content)
    watch.time = 1.0

    assert identities.get("a") == Token("alice", VIEWER)


def test_a_role_that_tokens_do_not_give_is_left_out(file: Path) -> None:
    file.write_bytes(format_identities({"a": Token("gas", "gas"), "b": Token("bob", VIEWER)}))
    identities = IdentitiesFile(file, roles=frozenset({VIEWER}), monotonic=Watch())

    assert identities.get("a") is None
    assert identities.get("b") is not None


@given(
    st.dictionaries(
        st.text(max_size=64),
        st.builds(
            Token,
            st.text(),
            st.text(),
            st.none() | st.datetimes(timezones=st.just(UTC), max_value=datetime(2500, 1, 1)),  # noqa: DTZ001  # the bound has none
        ),
        max_size=5,
    )
)
def test_an_identities_file_is_read_as_it_was_written(tokens: dict[str, Token]) -> None:
    assert parse_identities(format_identities(tokens)) == tokens


@given(st.binary(max_size=200))
def test_noise_is_no_identities_file(content: bytes) -> None:
    try:
        assert isinstance(parse_identities(content), dict)
    except ValueError:
        return
