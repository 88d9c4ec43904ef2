"""A vault with rows of every kind, in which somebody with the file in his hands changes some."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chassis import rlp
from chassis.errors import ServiceError
from keymanager import sql
from keymanager.batch import Batch
from keymanager.errors import ApprovalRequired, SealBroken
from keymanager.identity.members import Bar, RevokeCertificate
from keymanager.journal import Asker
from keymanager.keyring import open_version
from keymanager.lifecycle import describe, existing, versions_of
from keymanager.opening import _register
from keymanager.register import Place, Register, place_of
from keymanager.requests import Request
from keymanager.rotation import Begin, Step
from keymanager.rows import (
    GUARDED,
    CountRow,
    KeyRow,
    PolicyRow,
    RevocationRow,
    Row,
    SecretRow,
    TenantRow,
    VersionRow,
)
from keymanager.secret import Kind, Secret
from keymanager.uses.handover import Release
from keymanager.uses.operation import Operation
from keymanager.uses.signatures import SignDigest
from keymanager.uses.transactions import SignTransaction
from keymanager.uses.wallet import SignPersonalMessage
from tests.keymanager.vaults import OPERATOR, Bench, Cell

SECRETS = 30
OTHERS = 8
TENANTS = ("tenants/default", "tenants/acme", "tenants/zoo")
KINDS = (Kind.ED25519, Kind.HMAC, Kind.P256)
PEOPLE = ("alice", "bob", "carol")
ROLES = ("assembler", "gas", "knowledge", "linker", "runtime")

OF_SECRETS = (SecretRow, VersionRow, KeyRow, TenantRow)
# Read at a start only, which they stop.
OF_STARTS = (CountRow, PolicyRow, RevocationRow)


def names() -> list[str]:
    """Return the names of the secrets."""
    return [f"secrets/s{number:02}" for number in range(SECRETS)]


async def fill(bench: Bench) -> None:
    """Leave rows of every kind, half of each kind in one epoch and half in another."""
    await _fill(bench, range(SECRETS // 2), range(OTHERS // 2))
    bench.store.apply([Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())])
    await _fill(bench, range(SECRETS // 2, SECRETS), range(OTHERS // 2, OTHERS))
    bench.store.apply([Step(rows_max=12)])


async def _fill(bench: Bench, secrets: range, others: range) -> None:
    for number in secrets:
        await _put(bench, number)
    for number in others:
        bench.clock.advance(timedelta(seconds=7 + number))
        await _use(bench, number)
        await bench.vault.put_policy(_policy(f"rule{number}", "ask"), by=Asker(PEOPLE[number % 3]))
        await _ask(bench, number)
        await bench.vault.perform(Bar(OPERATOR, f"spiffe://actionvm/service/{ROLES[number % 5]}"))
        await bench.vault.perform(RevokeCertificate(OPERATOR, number + 1))
    await bench.vault.put_policy(_policy("all", "allow"), by=OPERATOR)


async def _put(bench: Bench, number: int) -> None:
    name = names()[number]
    bench.clock.advance(timedelta(seconds=1 + number))
    await bench.vault.put(
        name,
        name,
        KINDS[number // 3 % 3],
        b"",
        generate=True,
        by=OPERATOR,
        tenant=TENANTS[number % 3],
    )
    if number % 2:
        await bench.rotate(name, grace=timedelta(hours=1 + number))
    if number % 5 == 0:
        await bench.vault.disable(name, by=OPERATOR)
    if number % 7 == 0:
        await bench.vault.disable(name, by=OPERATOR, version=1)


async def _use(bench: Bench, number: int) -> None:
    """Leave a lease, and counts of two limits."""
    await bench.vault.put_policy(_policy(f"rule{number}", "allow"), by=OPERATOR)
    lent, wallet = f"secrets/lent{number}", f"secrets/wallet{number}"
    await bench.put(lent, b"sk-%d" % number)
    for _ in range(number % 3):
        await bench.rotate(lent, b"sk")
    recipient = X25519PrivateKey.from_private_bytes(bytes([number + 1] * 32))
    release = Release("models/openai", recipient.public_key().public_bytes_raw())
    by = Asker(ROLES[number % 5], f"agents/a{number}", "generation")
    lease = await bench.vault.release(lent, release, by=by)
    if number % 3 == 0:
        await bench.vault.revoke(lease.name, by=by)
    await bench.put(wallet, bytes([number + 1] * 32), Kind.SECP256K1)
    fields = (
        b"\x01",
        b"",
        b"\x01",
        b"\x02",
        b"\x52\x08",
        b"\x35" * 20,
        bytes([number + 1]),
        b"",
        (),
    )
    transfer = SignTransaction(b"\x02" + rlp.encode(fields))
    await bench.vault.use(wallet, transfer, method="Sign", by=by)


def _policy(name: str, verdict: str) -> str:
    every = dict.fromkeys(("callers", "secrets", "operations", "purposes"), "*")
    rules: list[dict[str, object]] = [{"name": name, "verdict": verdict, **every}]
    if verdict == "allow":
        sums = [{"sum": "value", "at_most": 10**6, "per": "hour"}]
        paid = {"name": "paid", "verdict": "allow", **every, "operations": "sign-transaction"}
        rules[0]["limits"] = [{"uses": 500, "per": "hour"}]
        rules.insert(0, {**paid, "limits": sums})
    return json.dumps({"format": "actionvm.policy/v1", "rules": rules})


async def _ask(bench: Bench, number: int) -> None:
    name, purpose = f"secrets/asked{number}", ("request", "generation")[number // 2 % 2]
    await bench.put(name, bytes([number + 1] * 32), Kind.SECP256K1)
    operation: Operation[bytes] = SignPersonalMessage(b"%d" % number)
    if number % 2:
        operation = SignDigest(bytes([number] * 32))
    by = Asker(ROLES[number % 5], f"agents/a{number % 3}", purpose)
    with pytest.raises(ApprovalRequired) as caught:
        await bench.vault.use(name, operation, method="Sign", by=by)
    if number % 2:
        approval, decider = caught.value.approval, Asker(PEOPLE[number % 3])
        await bench.vault.decide_approval(approval, approves=number % 4 == 1, by=decider)


@dataclass
class Victim:
    """A vault within one transaction, in which rows are changed and changed back.

    `owners` says which version of which secret shows what became of a row.
    """

    batch: Batch
    rows: dict[type[Row], list[Row]]
    owners: dict[Place, tuple[str, int]]
    totals: dict[type[Row], int]

    @classmethod
    def of(cls, batch: Batch) -> Victim:
        """Read all rows that something depends on."""
        owners = _owners(batch)
        rows = {
            kind: [
                row
                for row in sql.select(batch.cursor, kind, "")
                if kind not in OF_SECRETS or place_of(row) in owners
            ]
            for kind in GUARDED
        }
        made = cls(batch, rows, owners, {})
        made.totals = {kind: made.register(kind) for kind in OF_STARTS}
        return made

    def is_refused(self, row: Row) -> bool:
        """Tell whether whoever depends on a row gets nothing."""
        kind = type(row)
        try:
            if kind in OF_SECRETS:
                self.read(*self.owners[place_of(row)])
            elif kind in OF_STARTS:
                return self.register(kind) != self.totals[kind]
            else:
                self.batch.get(kind, *key_of(row), name="row")
        except ServiceError:
            return True
        return False

    def read(self, name: str, number: int) -> tuple[bytes, Secret]:
        """Open a version, as the first use after a start does, and describe the secret."""
        secret = existing(self.batch, name)
        version = self.batch.get(VersionRow, secret.id, number, name=name)
        value = open_version(self.batch, secret, version)
        return value, describe(secret, versions_of(self.batch, secret))

    def register(self, kind: type[Row]) -> int:
        """Return the sum over a table as a start does; raise `SealBroken` if a row was changed."""
        register = Register()
        if _register(self.batch.cursor, kind, register, self.batch.memory.epochs):
            raise SealBroken(kind.__name__)
        return register.total

    @property
    def names(self) -> dict[bytes, str]:
        """Return id -> name of the secrets."""
        return {row.id: row.name for row in self.rows[SecretRow] if isinstance(row, SecretRow)}

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what a block does, in the database and in what the batch remembers."""
        changes, total = dict(self.batch._changes), self.batch._total
        self.batch.cursor.execute("SAVEPOINT before")
        yield
        self.batch.cursor.execute("ROLLBACK TO before")
        self.batch.cursor.execute("RELEASE before")
        self.batch._changes, self.batch._total = changes, total

    def overwrite(self, *changes: tuple[Row, Row]) -> None:
        """Change rows as somebody with the file in his hands would."""
        for old, _ in changes:
            sql.delete(self.batch.cursor, GUARDED[type(old)], key_of(old))
        for _, new in changes:
            sql.upsert(self.batch.cursor, GUARDED[type(new)], [new])


def key_of(row: Row) -> tuple[Cell, ...]:
    """Return the key of a row in its table."""
    return place_of(row)[1]


def with_cells(row: Row, **cells: Cell) -> Row:
    """Return a row with other cells, also of other types."""
    return row._replace(**cells)  # type: ignore[arg-type]  # that is what an attacker does


def _owners(batch: Batch) -> dict[Place, tuple[str, int]]:
    """Return place -> name and version of what cannot be read without what lies there."""
    found = dict[Place, tuple[str, int]]()
    for secret in sql.select(batch.cursor, SecretRow, "WHERE name LIKE 'secrets/%'"):
        for version in versions_of(batch, secret):
            key = batch.get(KeyRow, version.key_id, name=secret.name)
            generation = int.from_bytes(key.content[:8])
            tenant = batch.get(TenantRow, secret.tenant, generation, name=secret.name)
            rows: list[Row] = [secret, version, key, tenant]
            rows.append(batch.get(KeyRow, tenant.key_id, name=secret.name))
            found |= {place_of(row): (secret.name, version.number) for row in rows}
    return found


@contextmanager
def opened(bench: Bench) -> Iterator[Victim]:
    """Open the vault of a bench for changes, none of which is kept."""
    with bench.store._transaction() as cursor:
        yield Victim.of(bench.store._batch(cursor))
