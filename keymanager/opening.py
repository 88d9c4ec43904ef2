"""Opening a vault: nothing is used before all rows, the log and the counter fit together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.evidence.log import Log, chain
from chassis.log import log

from . import sql
from .batch import Batch, Memory, OwnKeys
from .closing import close_batch
from .epochs import make_epoch, open_epoch
from .errors import AuditBroken, RolledBack, SealBroken, SecretNotFound
from .journal import Asker, Entry, decide
from .keyring import WRAPS_MAX, open_version
from .lifecycle import add_secret, existing, shred, usable
from .loaded import LoadedKeys
from .platform.port import Sealing
from .policies import in_force
from .policy.document import default_policy
from .register import (
    Anchor,
    AnchorRow,
    Register,
    Stamp,
    has_cells,
    is_authentic,
    place_of,
    total_after,
)
from .rotation import stale_places
from .rows import GUARDED, NODE, CountRow, KeyRow, PolicyRow, RevocationRow, Row, SecretRow
from .sealing import (
    DESTROYED,
    KEY_BYTES,
    EpochKey,
    MacKey,
    RandomBytes,
    derive,
    from_microseconds,
)
from .secret import SYSTEM_TENANT, Kind
from .signing import AUDIT_KEY, REQUESTS_KEY, SERVICE_KEYS
from .sql import Cursor
from .stored_log import StoredLog, known_of
from .tally import Tally
from .upkeep import ITSELF

# How far back the chain of records is followed at a start; all of it is for an export to prove.
TAIL_RECORDS = 1_024

# Writes what a migration brings along, before the anchor is written.
Finish: TypeAlias = Callable[[Batch], None]

# Rows that decide about everybody.
_OF_ALL = (CountRow, PolicyRow, RevocationRow)
_GENESIS_PROBLEM = "keymanager.db is missing, but the platform counted changes of one"


@dataclass(frozen=True)
class Opened:
    """An open vault, and where the counter of the platform is."""

    memory: Memory
    counter: int


@dataclass(frozen=True)
class _Start:
    """Leave a record of the start, or of a rollback that an operator accepted with it."""

    method: str
    by: Asker
    problem: str = ""

    def decide(self, _batch: Batch, entry: Entry) -> None:
        entry.facts = {"problem": self.problem} if self.problem else {}


def open_memory(
    cursor: Cursor,
    platform: Sealing,
    *,
    now: datetime,
    random_bytes: RandomBytes,
    accepts_rollback: bool,
    finish: Finish = lambda _: None,
) -> Opened:
    """Read everything and check it; make what a new vault needs, and finish it.

    The caller commits.
    """
    counter = platform.read_counter()
    cursor.execute("SELECT * FROM anchor")
    found = cursor.fetchone()
    if found is None:
        problem = _GENESIS_PROBLEM if platform.has_counted() else ""
        memory = new_memory(cursor, platform, counter, random_bytes)
    else:
        row = AnchorRow._make(found)
        memory, counter, problem = _read(cursor, platform, row, counter, accepts=accepts_rollback)
    if problem and not accepts_rollback:
        raise RolledBack(problem)
    batch = Batch(memory, cursor, now=now, random_bytes=random_bytes, wraps_max=WRAPS_MAX)
    start(batch, counter, problem=problem, repairs=accepts_rollback, finish=finish)
    return Opened(memory, counter)


def start(
    batch: Batch,
    counter: int,
    *,
    problem: str = "",
    repairs: bool = False,
    request_key: bytes = b"",
    finish: Finish = lambda _: None,
) -> None:
    """Make what a vault needs, leave a record, and write all of it."""
    try:
        repaired = _ensure_keys(batch, request_key, repairs=repairs)
    except SealBroken as error:
        raise RolledBack(f"{error.name}, without which nothing works, was changed") from error
    # A log with another key has no checkpoint yet, and gets one now.
    if AUDIT_KEY not in repaired:
        repaired += _find_checkpoint(batch, repairs=repairs)
    if repaired and not problem:
        problem = f"{' and '.join(repaired)} had to be made again"
    by = Asker("operator") if problem else ITSELF
    decide(batch, _Start("AcceptRollback" if problem else "Start", by, problem))
    batch.policy = in_force(batch)
    finish(batch)
    # The counter moves at every start, so that what was copied before is old.
    batch.merge(*close_batch(batch, counter + 1))
    batch.memory.counted_microseconds = batch.microseconds


def new_memory(
    cursor: Cursor, platform: Sealing, counter: int, random_bytes: RandomBytes
) -> Memory:
    """Return the memory of a vault in which there is nothing but an epoch."""
    made = make_epoch(platform, random_bytes)
    made.write(cursor, 0)
    anchor = Anchor(Log(), counter, (made.key.epoch,))
    return _memory(anchor, b"", {made.key.epoch: made.key}, Register())


def _ensure_keys(batch: Batch, request_key: bytes, *, repairs: bool) -> list[str]:
    """Make the keys of the services where they are missing, and open those of the vault itself.

    One of these that was changed is `SealBroken`, or is replaced; return which were.
    """
    repaired = []
    kinds = {**SERVICE_KEYS, AUDIT_KEY: Kind.ED25519, REQUESTS_KEY: Kind.HMAC}
    values = dict[str, bytes]()
    for name, kind in kinds.items():
        if repairs and _is_broken(batch, name):
            shred(batch, name)
            repaired.append(name)
        if not batch.has(SecretRow, name):
            is_given = request_key and name == REQUESTS_KEY
            value = request_key if is_given else batch.random_bytes(KEY_BYTES)
            add_secret(batch, name, kind, value, tenant=SYSTEM_TENANT)
        if name in {AUDIT_KEY, REQUESTS_KEY}:
            values[name] = _open(batch, name)
            batch.memory.own_keys = _own_keys(values)
    return repaired


def _find_checkpoint(batch: Batch, *, repairs: bool) -> list[str]:
    """Remember the newest checkpoint; what was changed ends the start, or is deleted and said."""
    repaired = []
    while True:
        try:
            batch.memory.checkpoint = StoredLog(
                batch.cursor, known_of(batch.memory)
            ).newest_checkpoint()
        except AuditBroken as error:
            if not repairs:
                raise RolledBack("the last checkpoint of the audit log was changed") from error
            repaired = ["the last checkpoint"]
            batch.cursor.execute(
                "DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)"
            )
        else:
            return repaired


def _own_keys(values: Mapping[str, bytes]) -> OwnKeys:
    audit = Ed25519PrivateKey.from_private_bytes(values[AUDIT_KEY])
    digest = hashlib.sha256(audit.public_key().public_bytes_raw()).hexdigest()
    return OwnKeys(
        tag=values.get(REQUESTS_KEY, b""),
        audit=audit,
        # Of the log, so that what peers remember of it is authentic as long as it goes on.
        mark=MacKey(derive(values[AUDIT_KEY], b"mark")),
        # Its own key names a log.
        ledger=f"keymanager/{digest[:16]}",
    )


def _is_broken(batch: Batch, name: str) -> bool:
    try:
        _open(batch, name)
    except SealBroken:
        return True
    except SecretNotFound:
        pass
    return False


def _open(batch: Batch, name: str) -> bytes:
    row = existing(batch, name)
    return open_version(batch, row, usable(batch, row, 0))


def _read(
    cursor: Cursor, platform: Sealing, row: AnchorRow, counter: int, *, accepts: bool
) -> tuple[Memory, int, str]:
    """Return what is there, where the counter is, and what is wrong with it."""
    anchor = row.anchor()
    epochs = {epoch: open_epoch(platform, cursor, epoch) for epoch in anchor.epochs}
    register = Register()
    broken = [stored for kind in GUARDED for stored in _register(cursor, kind, register, epochs)]
    memory = _memory(anchor, row.mac, epochs, register)
    is_anchored = anchor.mac(memory.epoch, register.total) == row.mac
    if is_anchored and anchor.counter == counter + 1:
        # Killed between the commit and the tick that belongs to it.
        counter = platform.increment_counter()
    problem = (
        _page_problem(cursor)
        or _counter_problem(anchor.counter, counter)
        or ("" if is_anchored else "rows of keymanager.db are missing, added or not the latest")
        or _log_problem(cursor, anchor.log)
        or _row_problem(broken)
    )
    if problem and accepts:
        _adopt(cursor, memory, broken)
    elif broken:
        tables = sorted({GUARDED[type(row)].name for row in broken})
        log.warning("vault.rows_broken", count=len(broken), tables=tables)
    if not problem or accepts:
        _remember_rows(cursor, memory)
    return memory, counter, problem


def _register(
    cursor: Cursor, kind: type[Row], register: Register, epochs: dict[bytes, EpochKey]
) -> list[Row]:
    """Take all rows of a table into the register; return those that were changed."""
    broken = []
    for stored in sql.select(cursor, kind, ""):
        if not is_authentic(stored, epochs):
            broken.append(stored)
            if stored.epoch not in epochs or not has_cells(stored):
                continue
        place, stamp = place_of(stored), Stamp(stored.epoch, stored.mac)
        register.stamps[place] = stamp
        register.total = total_after(register.total, place, old=None, new=stamp, epochs=epochs)
    return broken


def _page_problem(cursor: Cursor) -> str:
    """Say where SQLite would find other rows than those that were read, which was all of them.

    Whoever changes an index, or the order of pages, hides rows from every query that follows it.
    """
    for table in GUARDED.values():
        cursor.execute(f"PRAGMA integrity_check({table.name})")
        if cursor.fetchall() != [("ok",)]:
            return f"the table {table.name} of keymanager.db, or an index of it, is damaged"
    return ""


def _counter_problem(anchored: int, counter: int) -> str:
    if anchored == counter:
        return ""
    return f"keymanager.db is of change {anchored}, and the platform counted {counter}"


def _row_problem(broken: list[Row]) -> str:
    # Broken rows of other tables are refused where they are used; these are used by all.
    critical = [row for row in broken if isinstance(row, _OF_ALL)]
    return "the policy, what was counted for it, or who is revoked, was changed" if critical else ""


def _log_problem(cursor: Cursor, known: Log) -> str:
    cursor.execute("SELECT count(*) FROM record")
    (count,) = cursor.fetchone() or (0,)
    if count != known.size:
        return f"the audit log has {int(count)} records, and had {known.size}"
    statement = "SELECT content, chain_hash FROM record ORDER BY sequence DESC LIMIT ?"
    cursor.execute(statement, (TAIL_RECORDS,))
    tail = cursor.fetchall()[::-1]
    head = tail[-1][1] if tail else known.head
    is_whole = all(
        isinstance(before, bytes) and isinstance(content, bytes) and chain(before, content) == after
        for (_, before), (content, after) in pairwise(tail)
    )
    return "" if is_whole and head == known.head else "the end of the audit log was changed"


def _adopt(cursor: Cursor, memory: Memory, broken: list[Row]) -> None:
    """Go on with what is there, as an operator wants; what was changed stays refused."""
    cursor.execute("REINDEX")
    batch = Batch(
        memory,
        cursor,
        now=from_microseconds(0),
        random_bytes=lambda _: b"",
        wraps_max=WRAPS_MAX,
    )
    for row in broken:
        place = place_of(row)
        if isinstance(row, _OF_ALL):
            batch.delete(place[0], *place[1])
        else:
            batch.write_broken(row)
    log_, nodes = Log(), list[tuple[int, int, bytes]]()
    cursor.execute("SELECT sequence, content FROM record ORDER BY sequence")
    for sequence, content in cursor.fetchall():
        # A log can be shorter than it was, but it cannot go on with a gap.
        if sequence != log_.size + 1 or not isinstance(content, bytes):
            raise SealBroken(f"audit record {log_.size + 1}")
        log_, made = log_.append(content)
        nodes += [(node.level, node.index, node.hash) for node in made]
    cursor.execute("DELETE FROM node")
    sql.insert(cursor, NODE, nodes)
    cursor.execute("DELETE FROM checkpoint WHERE size > ?", (log_.size,))
    batch.log = log_
    batch.merge(*batch.anchor(memory.anchor.counter))


def _remember_rows(cursor: Cursor, memory: Memory) -> None:
    for row in sql.select(cursor, KeyRow, "ORDER BY id"):
        memory.next_key = max(memory.next_key, row.id + 1)
        if row.content == DESTROYED:
            memory.free_keys.append(row.id)
    for count in sql.select(cursor, CountRow, "ORDER BY id"):
        memory.next_count = max(memory.next_count, count.id + 1)
        tally = memory.tallies.setdefault(count.counter, Tally())
        tally.add(count.microseconds, int(count.amount), count.id)
    revocations = sql.select(cursor, RevocationRow, "ORDER BY subject")
    memory.revocations = {row.subject: row.end_microseconds for row in revocations}
    if len(memory.anchor.epochs) > 1:
        memory.stale = stale_places(memory.register.stamps, memory.anchor.epochs[0])


def _memory(
    anchor: Anchor, mac: bytes, epochs: dict[bytes, EpochKey], register: Register
) -> Memory:
    return Memory(
        anchor=anchor,
        mac=mac,
        epochs=epochs,
        register=register,
        policy=default_policy(),
        free_keys=[],
        next_key=1,
        next_count=1,
        tallies={},
        loaded=LoadedKeys(),
        stale=[],
    )
