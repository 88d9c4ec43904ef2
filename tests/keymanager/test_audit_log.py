"""Every operation leaves one record, and what is exported and proven verifies."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chassis.errors import ServiceError
from chassis.evidence.checkpoint import verify_checkpoint
from chassis.evidence.export import export_lines
from chassis.evidence.merkle import leaf_hash
from chassis.evidence.proofs import verify_consistency, verify_inclusion
from chassis.evidence.verifying import verify_export
from keymanager.errors import AuditBroken, SecretDisabled, SecretNotFound, VersionNotFound
from keymanager.journal import Asker
from keymanager.loaded import IDLE_MICROSECONDS, LOADED_MAX
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


async def test_an_export_verifies_in_pages(bench: Bench) -> None:
    after, count = 0, 0
    while True:
        page = bench.vault.export(after=after, limit=10)
        if not page.entries:
            break
        lines = export_lines(page.header, page.entries, page.checkpoints, bench.vault.sign_export)
        report = verify_export(lines, page.header.key)
        count += len(page.entries)
        after = page.checkpoints[-1].size
        assert report, after
    assert count == bench.vault.sequence


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
