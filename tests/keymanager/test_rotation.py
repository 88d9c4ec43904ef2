"""The root is replaced while everything goes on, and nothing depends on the old one then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from chassis.errors import RequestIdReused
from keymanager.errors import PlatformSilent
from keymanager.journal import Asker
from keymanager.lifecycle import Put, Rotate
from keymanager.requests import Request
from keymanager.rotation import Begin, Step
from keymanager.rows import GUARDED
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.uses.signatures import SignMessage
from tests.keymanager.vaults import OPERATOR, RUNTIME, Bench, sign

REQUESTS = Asker("runtime", purpose="request")
NAMES = [f"secrets/s{number:02}" for number in range(20)]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    for name in NAMES:
        await made.put(name)
    return made


async def _public_keys(bench: Bench) -> list[bytes]:
    bench.store.memory.loaded.clear()
    return [(await bench.vault.public_key(name)).value for name in NAMES]


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def _epochs(bench: Bench) -> set[object]:
    tables = [table.name for table in GUARDED.values()]
    query = " UNION ".join(f"SELECT epoch FROM {table}" for table in tables)  # noqa: S608  # ours
    return {epoch for (epoch,) in bench.execute(query)}


async def test_all_keys_stay_the_same_under_a_new_root(bench: Bench) -> None:
    before, epochs = await _public_keys(bench), _epochs(bench)
    await bench.vault.rotate_root("root", by=OPERATOR)
    assert await _public_keys(bench) == before
    assert not _epochs(bench) & epochs
    bench.open()
    assert await _public_keys(bench) == before


async def test_a_repeat_replaces_nothing_again(bench: Bench) -> None:
    await bench.vault.rotate_root("root", by=OPERATOR)
    epochs = _epochs(bench)
    bench.open()
    await bench.vault.rotate_root("root", by=OPERATOR)
    assert _epochs(bench) == epochs
    await bench.vault.rotate_root("another", by=OPERATOR)
    assert not _epochs(bench) & epochs


async def test_a_repeat_ends_what_a_kill_interrupted(bench: Bench) -> None:
    epochs = _epochs(bench)
    request = Request("root", b"rotate root")
    bench.store.apply([Begin(OPERATOR, request, bench.store.new_epoch())])
    bench.open()
    await bench.vault.rotate_root("root", by=OPERATOR)
    assert not _epochs(bench) & epochs


async def test_the_id_of_another_request_is_refused(bench: Bench) -> None:
    with pytest.raises(RequestIdReused):
        await bench.vault.rotate_root("s00", by=OPERATOR)
    assert bench.vault.status.rotation_left == 0


async def test_the_old_root_is_gone_from_the_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a")
    ((sealed, signer),) = bench.execute("SELECT sealed_code, sealed_signer FROM epoch")
    keys = [content for (content,) in bench.execute("SELECT content FROM wrapped_key")]
    assert isinstance(sealed, bytes)
    assert isinstance(signer, bytes)

    await bench.vault.rotate_root("root", by=OPERATOR)

    files = _files(tmp_path)
    for part in (sealed, signer, *keys):
        assert isinstance(part, bytes)
        assert part[16:48] not in files


async def test_what_was_written_in_the_batch_of_its_beginning_is_moved(bench: Bench) -> None:
    request = Request("new", b"content")
    put = Put(OPERATOR, request, "secrets/new", Kind.ED25519, b"", generate=True)
    begin = Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())
    bench.store.apply(
        [put, Rotate(OPERATOR, Request("again", b"content"), NAMES[0], b"", generate=True), begin]
    )
    await bench.vault.tend()
    for turn in range(2):
        assert await bench.vault.public_key("secrets/new")
        await bench.vault.rotate_root(f"root {turn}", by=OPERATOR)
        bench.open()


@pytest.mark.parametrize("steps", [0, 1, 3, 6, 20])
async def test_a_rotation_that_was_interrupted_is_finished_later(bench: Bench, steps: int) -> None:
    before = await _public_keys(bench)
    bench.store.apply([Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())])
    for _ in range(steps):
        bench.store.apply([Step(rows_max=7)])
    bench.open()
    assert await _public_keys(bench) == before
    await bench.vault.tend()
    assert await _public_keys(bench) == before
    assert len(bench.execute("SELECT id FROM epoch")) == 1


async def test_what_changes_in_the_middle_of_a_rotation_is_moved_too(bench: Bench) -> None:
    bench.store.apply([Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())])
    bench.store.apply([Step(rows_max=7)])
    for name in NAMES[:10]:
        await bench.rotate(name, grace=timedelta(hours=1))
    for name in NAMES[5:15]:
        await bench.vault.disable(name, by=OPERATOR, version=bench.vault.describe(name).version)
        await bench.vault.enable(name, by=OPERATOR, version=bench.vault.describe(name).version)
    for name in NAMES[15:]:
        await bench.vault.shred(name, by=OPERATOR)
        await bench.put(name + "x")
    await bench.vault.tend()
    bench.open()
    operation = SignMessage(Purpose.REQUEST, b"m")
    for name in NAMES[:10]:
        for version in (1, 2):
            await bench.vault.use(name, operation, method="Sign", by=REQUESTS, version=version)
    for name in NAMES[10:15]:
        assert await bench.vault.public_key(name)


async def test_no_use_fails_while_the_root_is_rotated(bench: Bench) -> None:
    is_over = asyncio.Event()

    async def use(name: str) -> int:
        count = 0
        while not is_over.is_set() or not count:
            await sign(bench.vault, name, Purpose.REQUEST, b"m", by=RUNTIME)
            count += 1
        return count

    async def rotate() -> None:
        for turn in range(3):
            await bench.vault.rotate_root(f"root {turn}", by=OPERATOR)
        is_over.set()

    rotating = asyncio.create_task(rotate())
    counts = await asyncio.gather(*map(use, NAMES))
    await rotating
    assert min(counts) > 0


async def test_a_worn_key_of_a_tenant_is_replaced() -> None:
    bench = Bench(wraps_max=3)
    for name in NAMES[:10]:
        await bench.put(name)
    generations = bench.execute("SELECT wraps FROM tenant_key WHERE tenant = 'tenants/default'")
    assert sorted(wraps for (wraps,) in generations) == [1, 3, 3, 3]
    bench.open()
    assert await bench.vault.public_key(NAMES[0])


async def test_a_row_that_was_changed_stays_refused_and_stops_no_rotation(bench: Bench) -> None:
    bench.write(NAMES[0], version=2)
    await bench.vault.rotate_root("root", by=OPERATOR)
    bench.open()
    assert await bench.vault.public_key(NAMES[1])
    await bench.vault.shred(NAMES[0], by=OPERATOR)


async def test_without_the_platform_nothing_begins(bench: Bench) -> None:
    bench.platform.fail_next()
    with pytest.raises(PlatformSilent):
        await bench.vault.rotate_root("root", by=OPERATOR)
    assert bench.vault.status.rotation_left == 0


async def test_an_upgrade_opens_what_was_sealed_for_the_signer(bench: Bench) -> None:
    before = await _public_keys(bench)
    bench.platform.code = "another release"
    bench.open()
    assert await _public_keys(bench) == before


async def test_a_version_that_changed_before_a_restart_is_moved_with_its_key(bench: Bench) -> None:
    before = await _public_keys(bench)
    bench.store.apply([Begin(OPERATOR, Request("root", b""), bench.store.new_epoch())])
    for name in NAMES:
        await bench.vault.disable(name, by=OPERATOR, version=1)
        await bench.vault.enable(name, by=OPERATOR, version=1)
    bench.open()
    await bench.vault.tend()
    assert await _public_keys(bench) == before
