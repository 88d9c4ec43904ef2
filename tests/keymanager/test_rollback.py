"""Files that are older than what the platform or a peer remembers are not used."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from chassis.errors import ServiceError
from keymanager.errors import AuditUnavailable, PlatformSilent, RolledBack, SecretNotFound
from keymanager.secret import Kind
from keymanager.signing import Purpose
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import OPERATOR, RUNTIME, Bench, sign

FILES = ("keymanager.db", "keymanager.db-wal")


class Disk:
    """The files of a vault, which an attacker copies and puts back while it does not run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = FakePlatform()
        (folder / "disk").mkdir()
        self.bench = self.start()

    def start(self) -> Bench:
        """Open the vault from the files, as a new process does."""
        return Bench(self.folder / "disk" / "keymanager.db", platform=self.platform)

    def copy(self, name: str) -> None:
        """Copy the files as they are, the log of a running process included."""
        (self.folder / name).mkdir()
        for file in FILES:
            if (self.folder / "disk" / file).exists():
                shutil.copy(self.folder / "disk" / file, self.folder / name / file)

    def put_back(self, name: str, *files: str) -> None:
        """Put copies of some files back, and remove those that there were not."""
        for file in files:
            (self.folder / "disk" / file).unlink(missing_ok=True)
            if (self.folder / name / file).exists():
                shutil.copy(self.folder / name / file, self.folder / "disk" / file)
        (self.folder / "disk" / "keymanager.db-shm").unlink(missing_ok=True)


@pytest.fixture
async def disk(tmp_path: Path) -> Disk:
    """Return files of which there is an old copy, from before a secret was shredded."""
    made = Disk(tmp_path)
    await made.bench.put("secrets/a")
    await made.bench.put("secrets/b")
    made.copy("old")
    await made.bench.vault.shred("secrets/a", by=OPERATOR)
    await made.bench.rotate("secrets/b")
    # A process that was killed leaves its log of writes behind.
    made.copy("new")
    made.bench.engine.dispose()
    made.put_back("new", *FILES)
    return made


async def test_the_latest_files_are_accepted(disk: Disk) -> None:
    assert disk.start().vault.describe("secrets/b").version == 2


@pytest.mark.parametrize("files", [FILES, FILES[:1], FILES[1:]], ids=["all", "database", "log"])
async def test_old_files_are_refused(disk: Disk, files: tuple[str, ...]) -> None:
    disk.put_back("old", *files)
    try:
        bench = disk.start()
    except RolledBack:
        return
    # What SQLite itself ignores of old files was not rolled back.
    with pytest.raises(SecretNotFound):
        bench.vault.describe("secrets/a")


async def test_all_old_files_stop_the_start(disk: Disk) -> None:
    disk.put_back("old", *FILES)
    with pytest.raises(RolledBack):
        disk.start()


async def test_a_missing_database_stops_the_start(disk: Disk) -> None:
    for file in FILES:
        (disk.folder / "disk" / file).unlink(missing_ok=True)
    with pytest.raises(RolledBack, match="missing"):
        disk.start()


async def test_a_database_that_is_missing_on_a_chip_stops_the_start(tmp_path: Path) -> None:
    """The counter of a chip begins above all that it ever counted."""
    platform = FakePlatform(first_count=7)
    await Bench(tmp_path / "first.db", platform=platform).put("secrets/a")

    with pytest.raises(RolledBack, match="missing"):
        Bench(tmp_path / "second.db", platform=platform)


async def test_what_was_copied_before_a_start_is_old_after_it(disk: Disk) -> None:
    disk.copy("before")
    disk.start().engine.dispose()
    disk.put_back("before", *FILES)
    with pytest.raises(RolledBack):
        disk.start()


async def test_an_operator_can_accept_old_files_which_leaves_a_record(disk: Disk) -> None:
    disk.put_back("old", *FILES)
    with pytest.raises(RolledBack):
        disk.start()
    engine = Bench(disk.folder / "other.db", platform=FakePlatform())
    engine.engine.dispose()
    bench = engine
    shutil.copy(disk.folder / "disk" / "keymanager.db", disk.folder / "other.db")
    for file in FILES[1:]:
        if (disk.folder / "disk" / file).exists():
            shutil.copy(disk.folder / "disk" / file, disk.folder / "other.db-wal")
    bench.platform = disk.platform
    bench.open(accepts_rollback=True)
    assert bench.vault.describe("secrets/a").version == 1
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    assert last.record.method == "AcceptRollback"
    bench.open()
    assert await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=RUNTIME)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM version WHERE rowid = 3",
        "UPDATE secret SET state = 2",
        "DELETE FROM record WHERE sequence = (SELECT max(sequence) FROM record)",
        "UPDATE anchor SET mac = zeroblob(32)",
    ],
)
async def test_what_was_accepted_once_needs_not_to_be_accepted_again(statement: str) -> None:
    bench = Bench()
    for name in ("secrets/a", "secrets/b"):
        await bench.put(name)
    bench.execute(statement)
    bench.open(accepts_rollback=True)
    await bench.put("secrets/c")
    bench.open()
    assert await bench.vault.public_key("secrets/c")


# --- The counter ---------------------------------------------------------------------------------


async def test_a_kill_between_commit_and_count_is_no_rollback() -> None:
    bench = Bench()
    bench.platform.fail_next()
    with pytest.raises(PlatformSilent):
        await bench.put("secrets/a")
    bench.open()
    assert await bench.vault.public_key("secrets/a")


async def test_nobody_is_answered_before_the_platform_counted() -> None:
    bench = Bench()
    bench.platform.fail_next()
    request = ("r1", "secrets/a", Kind.API_KEY, b"v")
    with pytest.raises(PlatformSilent):
        await bench.vault.put(*request, generate=False, by=OPERATOR)
    assert (await bench.vault.put(*request, generate=False, by=OPERATOR)).version == 1


async def test_uses_are_counted_once_in_a_while() -> None:
    bench = Bench()
    await bench.put("secrets/a")
    before = bench.platform.read_counter()
    for _ in range(3):
        await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=RUNTIME)
    assert bench.platform.read_counter() == before
    bench.clock.advance(timedelta(minutes=1))
    await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=RUNTIME)
    assert bench.platform.read_counter() == before + 1


async def test_somebody_else_who_counts_stops_all_answers() -> None:
    bench = Bench()
    bench.platform.increment_counter()
    for _ in range(2):
        with pytest.raises(RolledBack):
            await bench.put("secrets/a")


# --- Witnesses -----------------------------------------------------------------------------------


async def test_nothing_is_answered_before_the_acceptance_is_on_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a")
    bench.store.refuse_all("a peer saw record 1000")
    _lock_disk(bench)
    with pytest.raises(AuditUnavailable):
        await bench.vault.accept_rollback(1_000, by=OPERATOR)
    with pytest.raises(RolledBack):
        bench.vault.describe("secrets/a")
    _mend_disk(bench)
    await bench.vault.accept_rollback(1_000, by=OPERATOR)
    assert bench.vault.describe("secrets/a").version == 1


# --- A disk that takes nothing -------------------------------------------------------------------


def _fill_disk(bench: Bench) -> None:
    ((pages,),) = bench.execute("PRAGMA page_count")
    bench.execute(f"PRAGMA max_page_count = {int(pages)}")


def _lock_disk(bench: Bench) -> None:
    bench.execute("PRAGMA query_only = ON")


def _mend_disk(bench: Bench) -> None:
    bench.execute("PRAGMA query_only = OFF")
    bench.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("break_disk", [_fill_disk, _lock_disk])
async def test_a_disk_that_takes_nothing_answers_nobody_until_it_does(
    tmp_path: Path, break_disk: object
) -> None:
    bench = Bench(tmp_path / "keymanager.db")
    await bench.put("secrets/a")
    assert callable(break_disk)
    break_disk(bench)
    outcomes = []
    for number in range(60):
        try:
            message = f"{number}".encode() * 900
            await sign(bench.vault, "secrets/a", Purpose.REQUEST, message, by=RUNTIME)
            outcomes.append(bench.vault.sequence)
        except ServiceError as error:
            assert isinstance(error, AuditUnavailable)
    # What was answered is recorded, and nothing else is.
    assert outcomes == sorted(set(outcomes))
    assert len(outcomes) < 60
    _mend_disk(bench)
    await bench.put("secrets/b")
    bench.open()
    records = bench.vault.records(after=0, limit=1_000)
    assert len([one for one in records if one.record.method == "Sign"]) == len(outcomes)
