"""All that a vault knows, in the clear, for a backup that encrypts it at once."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from chassis.fields import SECRET_NAME

from .audit.record import WHOLE_MAX, Fact
from .batch import Batch
from .errors import BackupInvalid, VaultNotEmpty
from .journal import Asker, Entry
from .keyring import open_version, seal_version
from .lifecycle import ID_BYTES, shred, versions_of
from .policies import in_force, latest
from .rows import CountRow, PolicyRow, SecretRow, VersionRow
from .secret import SYSTEM_TENANT, TENANT_NAME, Kind, State
from .signing import AUDIT_KEY, AUTHORITY_KEY, REQUESTS_KEY, SERVICE_KEYS
from .uses.values import check_value

FORMAT = "actionvm.keymanager-state/v1"
# Uses of one hour are one number, of the last of them: a limit of a policy is never met later.
COUNT_MICROSECONDS = 3_600 * 1_000_000
_PROBLEM = "does not hold what a key manager exports; take one that this release or an older made"


@dataclass(frozen=True)
class ExportState:
    """Return all secrets with their values, the policy, and what was used of its limits.

    The keys of the log, of request ids and of certificates stay: another system has its own.
    """

    method: ClassVar[str] = "Backup"

    by: Asker
    # Who will be able to open it, for the record.
    shares: Mapping[str, Fact] = field(default_factory=dict)

    def decide(self, batch: Batch, entry: Entry) -> bytes:
        where = "WHERE name NOT IN (?, ?, ?) ORDER BY name"
        kept = (AUDIT_KEY, AUTHORITY_KEY, REQUESTS_KEY)
        rows = batch.select(SecretRow, where, kept, name="secrets")
        entry.facts = {"secrets": len(rows), **self.shares}
        state = {
            "format": FORMAT,
            "ledger": batch.own.ledger,
            "sequence": batch.log.size,
            "policy": latest(batch).text,
            "secrets": [_secret_to_json(batch, row) for row in rows],
            "counts": _counts_to_json(batch),
        }
        return json.dumps(state, separators=(",", ":")).encode()


@dataclass(frozen=True)
class ImportState:
    """Seal what another vault exported; the keys of the services become those of that vault."""

    method: ClassVar[str] = "Restore"

    by: Asker
    content: bytes = field(repr=False)

    def decide(self, batch: Batch, entry: Entry) -> int:
        batch.cursor.execute("SELECT 1 FROM secret WHERE tenant != ?", (SYSTEM_TENANT,))
        if batch.cursor.fetchone() is not None:
            raise VaultNotEmpty
        state = _parse(self.content)
        entry.facts = {"ledger": state.ledger, "sequence": state.sequence}
        for listed, versions in state.secrets:
            if batch.has(SecretRow, listed.name):
                shred(batch, listed.name)
            row = listed._replace(id=batch.random_bytes(ID_BYTES))
            batch.write(row)
            for version, value in versions:
                seal_version(batch, row, version._replace(secret_id=row.id), value)
            batch.touched.add(row.name)
        if state.policy:
            number = latest(batch).version + 1
            batch.write(PolicyRow(number, state.policy, self.by.caller, batch.microseconds))
            batch.policy = in_force(batch)
        for count in state.counts:
            batch.count_at(*count)
        return len(state.secrets)


@dataclass(frozen=True)
class _State:
    ledger: str
    sequence: int
    policy: str
    secrets: list[tuple[SecretRow, list[tuple[VersionRow, bytes]]]]
    # Counter, time and amount.
    counts: list[tuple[str, int, int]]


def _secret_to_json(batch: Batch, row: SecretRow) -> dict[str, object]:
    return {
        "name": row.name,
        "tenant": row.tenant,
        "kind": row.kind,
        "version": row.version,
        "state": row.state,
        "create_microseconds": row.create_microseconds,
        "versions": [
            {
                "number": version.number,
                "state": version.state,
                "create_microseconds": version.create_microseconds,
                "expire_microseconds": version.expire_microseconds,
                "value": base64.b64encode(open_version(batch, row, version)).decode(),
            }
            for version in versions_of(batch, row)
        ],
    }


def _counts_to_json(batch: Batch) -> list[tuple[str, int, int]]:
    latest_of, amounts = dict[tuple[str, int], int](), dict[tuple[str, int], int]()
    for row in batch.select(CountRow, "ORDER BY id", (), name="counts"):
        hour = (row.counter, row.microseconds // COUNT_MICROSECONDS)
        latest_of[hour] = max(latest_of.get(hour, 0), row.microseconds)
        amounts[hour] = amounts.get(hour, 0) + int(row.amount)
    return [(hour[0], time, amounts[hour]) for hour, time in latest_of.items()]


def _parse(content: bytes) -> _State:
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise BackupInvalid(_PROBLEM)
        secrets = [_secret_from_json(one) for one in found["secrets"]]
        # A backup of an earlier release has none.
        counts = [_count_from_json(one) for one in found.get("counts", ())]
        ledger, sequence, policy = str(found["ledger"]), int(found["sequence"]), found["policy"]
        return _State(ledger, sequence, str(policy), secrets, counts)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BackupInvalid(_PROBLEM) from error


def _count_from_json(found: list[object]) -> tuple[str, int, int]:
    counter, time, amount = found
    match json.loads(counter) if isinstance(counter, str) else None:
        case [str(), *_] if 0 <= _whole(time) <= WHOLE_MAX and _whole(amount) >= 0:
            return str(counter), _whole(time), _whole(amount)
    raise BackupInvalid(_PROBLEM)


def _secret_from_json(found: dict[str, object]) -> tuple[SecretRow, list[tuple[VersionRow, bytes]]]:
    row = SecretRow(
        name=str(found["name"]),
        id=b"",
        tenant=str(found["tenant"]),
        kind=Kind(_whole(found["kind"])),
        version=_whole(found["version"]),
        state=State(_whole(found["state"])),
        create_microseconds=_whole(found["create_microseconds"]),
    )
    is_service = row.name in SERVICE_KEYS
    if not (is_service or SECRET_NAME.fullmatch(row.name)) or not TENANT_NAME.fullmatch(row.tenant):
        raise BackupInvalid(_PROBLEM)
    if is_service != (row.tenant == SYSTEM_TENANT):
        raise BackupInvalid(_PROBLEM)
    listed = found["versions"]
    if not isinstance(listed, list):
        raise BackupInvalid(_PROBLEM)
    versions = [_version_from_json(row, one) for one in listed]
    if row.version not in {version.number for version, _ in versions}:
        raise BackupInvalid(_PROBLEM)
    return row, versions


def _version_from_json(row: SecretRow, found: dict[str, object]) -> tuple[VersionRow, bytes]:
    value = base64.b64decode(str(found["value"]), validate=True)
    check_value(Kind(row.kind), value)
    version = VersionRow(
        secret_id=b"",
        number=_whole(found["number"]),
        key_id=0,
        state=State(_whole(found["state"])),
        create_microseconds=_whole(found["create_microseconds"]),
        expire_microseconds=_whole(found["expire_microseconds"]),
        ciphertext=b"",
    )
    return version, value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise BackupInvalid(_PROBLEM)
    return value
