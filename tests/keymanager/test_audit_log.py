"""Every operation leaves one record, and what is exported and proven verifies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from chassis.errors import ServiceError
from chassis.evidence.checkpoint import verify_checkpoint
from chassis.evidence.merkle import leaf_hash
from chassis.evidence.proofs import verify_consistency, verify_inclusion
from chassis.evidence.verifying import verify_export
from keymanager.errors import (
    AuditBroken,
    RolledBack,
    SecretDisabled,
    SecretNotFound,
    VersionNotFound,
)
from keymanager.journal import Asker
from keymanager.lifecycle import Shred
from keymanager.loaded import IDLE_MICROSECONDS, LOADED_MAX
from keymanager.services.audit import export_parts
from keymanager.signing import Purpose
from keymanager.uses.signatures import SignMessage
from tests.keymanager.vaults import OPERATOR, RUNTIME, Bench, sign


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.put("secrets/a")
    for number in range(30):
        made.clock.advance(timedelta(milliseconds=300))
        await sign(made.vault, "secrets/a", Purpose.REQUEST, bytes([number]), by=RUNTIME)
    made.clock.advance(timedelta(seconds=2))
    await made.vault.tend()
    return made


def _export(bench: Bench, after: int = 0) -> list[bytes]:
    return b"".join(export_parts(bench.vault, after)).splitlines(keepends=True)


async def test_an_export_verifies_from_any_record_on(bench: Bench) -> None:
    for after in range(bench.vault.sequence):
        report = verify_export(_export(bench, after))
        assert not report.flaw, after
        assert report.record_count == bench.vault.sequence - after


async def test_an_export_is_read_page_by_page(bench: Bench) -> None:
    for _ in range(4):
        bench.store.apply([Shred(OPERATOR, "secrets/none")] * 1_000)
    parts = export_parts(bench.vault, 0)
    assert next(parts)
    # What was read before cannot break any more.
    bench.execute("UPDATE record SET content = x'' WHERE sequence = 3000")
    with pytest.raises(AuditBroken):
        list(parts)


CHANGES = {
    "the end is cut off": (
        "DELETE FROM record WHERE sequence > 20",
        "DELETE FROM checkpoint WHERE size > 20",
        "DELETE FROM node WHERE position << level >= 20",
    ),
    "the checkpoints are gone": ("DELETE FROM checkpoint",),
    "the last checkpoint is gone": (
        "DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)",
    ),
    "a checkpoint is of the future": (
        "UPDATE checkpoint SET size = 99999999 WHERE size = (SELECT max(size) FROM checkpoint)",
    ),
    "a checkpoint is no number": ("UPDATE checkpoint SET counter = 'x'",),
    "a checkpoint is of no time": ("UPDATE checkpoint SET microseconds = 1 << 62",),
    "the last record is another": (
        "UPDATE record SET chain_hash = zeroblob(32) WHERE sequence > 31",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_is_made_of_a_log_that_was_changed_while_it_ran(
    bench: Bench, change: str
) -> None:
    for statement in CHANGES[change]:
        bench.execute(statement)
    asked: list[Callable[[], object]] = [
        bench.vault.checkpoint,
        lambda: bench.vault.prove_inclusion(1),
        lambda: bench.vault.prove_consistency(1),
        lambda: list(export_parts(bench.vault, 0)),
    ]
    for ask in asked:
        with pytest.raises(AuditBroken):
            ask()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM record WHERE sequence = 5",
        "DELETE FROM record WHERE sequence = 4",
        "UPDATE record SET content = 'text' WHERE sequence = 5",
        "DELETE FROM node WHERE level = 0 AND position = 5",
        "UPDATE node SET hash = zeroblob(32) WHERE level = 0 AND position = 5",
        "UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 3",
    ],
)
async def test_a_record_is_not_proven_from_rows_that_were_changed(
    bench: Bench, change: str
) -> None:
    bench.execute(change)
    with pytest.raises(AuditBroken):
        bench.vault.prove_inclusion(5)


async def test_consistency_is_not_proven_from_rows_that_were_changed(bench: Bench) -> None:
    bench.execute("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 3")
    with pytest.raises(AuditBroken):
        bench.vault.prove_consistency(6)


@pytest.mark.parametrize("change", [CHANGES[one] for one in sorted(CHANGES) if "is of" in one])
async def test_a_false_checkpoint_stops_the_start_until_it_is_accepted(
    bench: Bench, change: tuple[str]
) -> None:
    bench.execute(change[0])
    with pytest.raises(RolledBack):
        bench.open()
    bench.open(accepts_rollback=True)
    bench.open()
    bench.clock.advance(timedelta(seconds=2))
    await bench.put("secrets/b")
    assert not verify_export(_export(bench)).flaw


async def test_records_are_not_listed_where_one_is_missing(bench: Bench) -> None:
    bench.execute("DELETE FROM record WHERE sequence = 5")
    for after in (3, 5):
        with pytest.raises(AuditBroken):
            bench.vault.records(after=after, limit=2)


async def test_each_record_is_proven_to_be_in_the_newest_checkpoint(bench: Bench) -> None:
    checkpoint = bench.vault.checkpoint()
    assert checkpoint is not None
    assert verify_checkpoint(checkpoint)
    assert checkpoint.size == bench.vault.sequence
    for sequence in range(1, checkpoint.size + 1):
        proof = bench.vault.prove_inclusion(sequence)
        assert proof is not None
        assert verify_inclusion(
            leaf_hash(proof.content),
            index=sequence - 1,
            size=checkpoint.size,
            root=checkpoint.root,
            proof=proof.hashes,
        )


async def test_the_newest_checkpoint_continues_an_earlier_one(bench: Bench) -> None:
    before = bench.vault.checkpoint()
    assert before is not None
    bench.clock.advance(timedelta(seconds=2))
    await bench.put("secrets/b")
    bench.clock.advance(timedelta(seconds=2))
    bench.open()
    proof = bench.vault.prove_consistency(before.size)
    assert proof is not None
    assert proof.checkpoint.size > before.size
    assert verify_consistency(
        before=before.size,
        root_before=before.root,
        size=proof.checkpoint.size,
        root=proof.checkpoint.root,
        proof=proof.hashes,
    )


async def test_what_is_not_in_a_checkpoint_has_no_proof(bench: Bench) -> None:
    assert bench.vault.prove_inclusion(0) is None
    assert bench.vault.prove_inclusion(bench.vault.sequence + 1) is None
    assert bench.vault.prove_consistency(bench.vault.sequence + 1) is None


async def test_a_refusal_leaves_a_record(bench: Bench) -> None:
    for name in ("secrets/none", "secrets/none2"):
        with pytest.raises(SecretNotFound):
            await bench.vault.shred(name, by=OPERATOR)
    last = bench.vault.records(after=bench.vault.sequence - 2, limit=10)
    assert [(one.record.method, one.record.outcome) for one in last] == [
        ("ShredSecret", "SECRET_NOT_FOUND")
    ] * 2


async def test_a_record_that_was_changed_is_not_read(bench: Bench) -> None:
    bench.execute("UPDATE record SET content = zeroblob(80) WHERE sequence = 5")
    assert len(bench.vault.records(after=0, limit=4)) == 4
    with pytest.raises(AuditBroken):
        bench.vault.records(after=0, limit=5)


async def test_no_record_holds_a_message_or_a_value(bench: Bench) -> None:
    await bench.put("secrets/key", b"the-secret-value")
    await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"the-secret-message", by=RUNTIME)
    contents = bench.execute("SELECT content FROM record")
    assert not [one for (one,) in contents if isinstance(one, bytes) and b"the-secret" in one]


# --- Keys that are kept open ---------------------------------------------------------------------


async def test_keys_that_nobody_used_for_a_while_are_closed(bench: Bench) -> None:
    assert len(bench.store.memory.loaded) == 1
    bench.clock.advance(timedelta(microseconds=IDLE_MICROSECONDS))
    await bench.vault.tend()
    assert len(bench.store.memory.loaded) == 0


@pytest.mark.parametrize("way", ["disable", "rotate", "shred"])
async def test_a_key_that_changed_is_closed(bench: Bench, way: str) -> None:
    if way == "disable":
        await bench.vault.disable("secrets/a", by=OPERATOR)
    elif way == "rotate":
        await bench.rotate("secrets/a")
    else:
        await bench.vault.shred("secrets/a", by=OPERATOR)
    assert len(bench.store.memory.loaded) == 0


async def test_only_so_many_keys_are_kept_open() -> None:
    bench = Bench()
    for number in range(LOADED_MAX + 2):
        name = f"secrets/{number}"
        await bench.put(name)
        await bench.vault.public_key(name)
    assert len(bench.store.memory.loaded) == LOADED_MAX


async def test_uses_beside_rotations_and_shreds_see_one_state_or_the_other() -> None:
    bench = Bench()
    await bench.put("secrets/a")
    by = Asker("runtime", purpose="request")
    refusals: list[ServiceError] = []

    async def use(version: int) -> None:
        operation = SignMessage(Purpose.REQUEST, b"m")
        for _ in range(20):
            try:
                await bench.vault.use("secrets/a", operation, method="Sign", by=by, version=version)
            except ServiceError as error:
                refusals.append(error)

    async def change() -> None:
        for _ in range(10):
            await bench.rotate("secrets/a")
            await bench.vault.disable("secrets/a", by=OPERATOR)
            await bench.vault.enable("secrets/a", by=OPERATOR)
        await bench.vault.shred("secrets/a", by=OPERATOR)
        await bench.put("secrets/a")

    await asyncio.gather(*(use(version % 3) for version in range(12)), change())
    allowed = SecretDisabled | SecretNotFound | VersionNotFound
    assert not [error for error in refusals if not isinstance(error, allowed)]
    bench.open()
    assert await bench.vault.public_key("secrets/a")
