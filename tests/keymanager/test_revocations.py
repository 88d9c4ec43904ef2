"""Who is revoked stays so: whatever is deleted, put back, set or killed, and on record."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.certificates import Certificate, Revoked, identity_of
from chassis.identity import Authorizer, Shown, Token, hash_token
from keymanager.audit.record import Record
from keymanager.config import CERTIFICATE_SECONDS_MAX
from keymanager.database import open_vault_store
from keymanager.errors import IdentityRevoked, RolledBack, TooManyRevocations
from keymanager.identity.former import RevocationsUnusable, adopt_revocations
from keymanager.identity.revocations import Revocations
from keymanager.identity.service import IdentityMethods
from keymanager.journal import Operation
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform

from .authorities import identity_parts
from .vaults import OPERATOR, Bench, HandSetClock

GAS, LINKER = identity_of("gas"), identity_of("linker")


def revocations_of(bench: Bench, *, serials_max: int = 3) -> Revocations:
    return Revocations(bench.store, bench.vault.perform, serials_max=serials_max)


def records_of(bench: Bench) -> list[Record]:
    return [one.record for one in bench.vault.records(after=0, limit=100)]


async def test_what_is_revoked_is_so_after_a_restart() -> None:
    bench = Bench()
    revocations = revocations_of(bench)
    await revocations.bar(GAS, by=OPERATOR)
    await revocations.bar(LINKER, by=OPERATOR)
    await revocations.revoke(0xABC, by=OPERATOR)
    await revocations.admit(LINKER, by=OPERATOR)
    before = revocations.present()

    bench.open()

    assert before.identities == {GAS}
    assert before.serials == {0xABC}
    assert revocations_of(bench).present() == before


async def test_a_repeat_changes_nothing() -> None:
    bench = Bench()
    revocations = revocations_of(bench)
    await revocations.bar(GAS, by=OPERATOR)
    await revocations.bar(GAS, by=OPERATOR)
    assert revocations.present().identities == {GAS}

    await revocations.admit(GAS, by=OPERATOR)
    await revocations.admit(GAS, by=OPERATOR)

    assert not revocations.is_barred(GAS)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM revocation",
        "DELETE FROM revocation WHERE end_microseconds > 0",
        "UPDATE revocation SET subject = 'spiffe://actionvm/service/nobody'",
        "UPDATE revocation SET end_microseconds = 1",
        "UPDATE revocation SET mac = zeroblob(32)",
        "DROP TABLE revocation",
    ],
)
async def test_who_takes_a_revocation_out_of_the_file_stops_the_start(
    tmp_path: Path, statement: str
) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await revocations_of(bench).bar(GAS, by=OPERATOR)
    await revocations_of(bench).revoke(1, by=OPERATOR)
    if "UPDATE revocation SET subject" in statement:
        await revocations_of(bench).admit(GAS, by=OPERATOR)

    bench.execute(statement)
    bench.engine.dispose()

    with pytest.raises(RolledBack):
        Bench(tmp_path / "keymanager.db", platform=bench.platform)


async def test_who_puts_the_file_of_before_a_revocation_back_stops_the_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keymanager.db"
    bench = Bench(path)
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    await revocations_of(bench).bar(GAS, by=OPERATOR)
    bench.engine.dispose()
    path.write_bytes(before)

    with pytest.raises(RolledBack):
        Bench(path, platform=bench.platform)


async def test_a_certificate_is_refused_as_long_as_any_could_live() -> None:
    bench = Bench()
    revocations = revocations_of(bench)
    await revocations.revoke(1, by=OPERATOR)
    bench.clock.advance(timedelta(seconds=CERTIFICATE_SECONDS_MAX) - timedelta(microseconds=1))
    await revocations.revoke(2, by=OPERATOR)
    assert revocations.present().serials == {1, 2}

    bench.clock.advance(timedelta(microseconds=1))
    await revocations.revoke(3, by=OPERATOR)

    assert revocations.present().serials == {2, 3}


async def test_only_so_many_certificates_are_revoked_at_a_time() -> None:
    bench = Bench()
    revocations = revocations_of(bench, serials_max=2)
    for serial in (1, 2, 1, 2):
        await revocations.revoke(serial, by=OPERATOR)
    with pytest.raises(TooManyRevocations):
        await revocations.revoke(3, by=OPERATOR)
    await revocations.bar(GAS, by=OPERATOR)

    bench.clock.advance(timedelta(seconds=CERTIFICATE_SECONDS_MAX))
    await revocations.revoke(3, by=OPERATOR)

    assert revocations.present().serials == {3}
    assert revocations.present().identities == {GAS}


async def test_who_is_revoked_while_it_enrols_gets_nothing() -> None:
    bench = Bench()
    revocations = revocations_of(bench)
    certificate = Certificate("gas", 0xBEE, bench.clock.now())
    await revocations.enrolled(certificate)
    await revocations.bar(GAS, by=OPERATOR)

    with pytest.raises(IdentityRevoked):
        await revocations.enrolled(certificate)

    facts = {"identity": GAS, "serial_number": "bee"}
    found = [(one.method, one.outcome, one.facts) for one in records_of(bench)]
    assert found[-3:] == [
        ("Enrol", "OK", facts),
        ("RevokeIdentity", "OK", {"identity": GAS}),
        ("Enrol", "IDENTITY_REVOKED", facts),
    ]


async def test_all_are_told_of_a_revocation_whose_caller_hung_up() -> None:
    bench, may_go_on = Bench(), asyncio.Event()

    async def late(operation: Operation) -> object:
        await may_go_on.wait()
        return await bench.vault.perform(operation)

    enrolment, _ = identity_parts(bench.clock, vault=bench.vault)
    methods = IdentityMethods(enrolment, Revocations(bench.store, late))
    context: Any = None
    told = methods.WatchRevocations(pb.WatchRevocationsRequest(), context)
    assert list((await anext(told)).identities) == []
    table = {"RevokeIdentity": frozenset({"operator"})}
    tokens = {hash_token("t"): Token("alice", "operator")}
    Authorizer(tokens, table).authorize("RevokeIdentity", Shown("Bearer t"))
    request = pb.RevokeIdentityRequest(identity=GAS)
    call = asyncio.create_task(methods.RevokeIdentity(request, context))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    may_go_on.set()

    async with asyncio.timeout(5):
        assert list((await anext(told)).identities) == [GAS]


async def test_a_rotation_of_the_root_keeps_what_is_revoked() -> None:
    bench = Bench()
    await revocations_of(bench).bar(GAS, by=OPERATOR)

    await bench.vault.rotate_root("root", by=OPERATOR)
    bench.open()

    assert revocations_of(bench).present().identities == {GAS}


# --- The file of earlier releases ----------------------------------------------------------------


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def write_former(path: Path) -> None:
    """Write what an earlier release knew of who is revoked."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE barred (identity VARCHAR NOT NULL PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE serials "
            "(serial VARCHAR NOT NULL PRIMARY KEY, end_microseconds BIGINT NOT NULL)"
        )
        connection.execute("INSERT INTO barred VALUES (?)", (GAS,))
        connection.execute("INSERT INTO serials VALUES ('abc', 1)")
        connection.commit()


async def test_what_an_earlier_release_knew_is_taken_over_once_and_on_record(
    tmp_path: Path,
) -> None:
    bench = Bench()
    write_former(tmp_path / "identity.db")

    for _ in range(2):
        adopt_revocations(tmp_path, bench.store)

    present = revocations_of(bench).present()
    assert present == Revoked(frozenset({GAS}), frozenset({0xABC}))
    assert files_in(tmp_path) == []
    assert [one.facts for one in records_of(bench)[-2:]] == [
        {"identity": GAS},
        {"serial_number": "abc"},
    ]


def test_a_file_of_an_earlier_release_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "identity.db").write_bytes(b"SQLite format 3\0" + bytes(4_096))

    with pytest.raises(RevocationsUnusable, match="revoke again"):
        adopt_revocations(tmp_path, Bench().store)


def test_a_vault_from_before_there_was_the_table_opens(tmp_path: Path) -> None:
    platform, clock = FakePlatform(), HandSetClock()

    def opened() -> Vault:
        engine, store = open_vault_store(
            tmp_path, platform, clock=clock, random_bytes=random.Random(1).randbytes
        )
        engine.dispose()
        return Vault(store)

    opened()
    with closing(sqlite3.connect(tmp_path / "keymanager.db")) as connection:
        connection.execute("DROP TABLE revocation")
        connection.commit()

    assert opened().sequence > 0
