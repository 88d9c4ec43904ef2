"""What earlier releases sealed is opened once, and is as it was; what opened it is destroyed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from chassis.errors import RequestIdReused
from keymanager.database import open_vault_store
from keymanager.errors import RolledBack, SealBroken, SecretNotFound
from keymanager.first_release import RootKeyUnusable
from keymanager.secret import Kind, Secret, State
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import OPERATOR, HandSetClock, public_key_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keymanager-1"
SECOND = Path(__file__).resolve().parents[1] / "golden" / "keymanager-2"

# What was in the golden database when the first release made it.
BUNDLES = "0c51c67faa93d3fd677edc222df5d8346af23f780df3cb3a5f8dca3537b8cddd"
RECEIPTS = "6062cd0e24eda2645bec9925fe9ba3cd466c6c373489bc9c2c74235495f726a6"
MADE = "c1a52a456f0a0155c43d02f740eca175542ad968fe3caa01c2b90c86358a7029"
MADE_SECOND = "21dd30c241a975cd5b85369b6e2c6274b3d2119ccde768a258212766eb145056"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "data")
    return tmp_path / "data"


def _open(folder: Path, platform: FakePlatform | None = None) -> Vault:
    _, store = open_vault_store(
        folder,
        platform or FakePlatform(),
        clock=HandSetClock(),
        random_bytes=random.Random(1).randbytes,
    )
    return Vault(store)


@pytest.mark.parametrize(
    ("name", "public_key"),
    [("keys/bundles", BUNDLES), ("keys/receipts", RECEIPTS), ("secrets/made", MADE)],
)
async def test_keys_are_the_same_as_before(folder: Path, name: str, public_key: str) -> None:
    assert (await _open(folder).public_key(name)).value.hex() == public_key


async def test_what_is_known_of_a_secret_is_the_same_as_before(folder: Path) -> None:
    vault = _open(folder)
    listed = vault.describe_all(after="", limit=10)
    assert [(secret.name.rpartition("/")[2], secret.version) for secret in listed] == [
        ("board", 1),
        ("large", 1),
        ("made", 1),
        ("old", 2),
        ("openai", 1),
    ]
    old = vault.describe("secrets/old")
    assert (old.create_time.hour, old.rotate_time.hour) == (23, 0)


async def test_values_are_the_same_as_before(folder: Path) -> None:
    vault = _open(folder)
    state = await vault.export_state(by=OPERATOR)
    for value in (b"c2stZ29sZGVuLW9wZW5haS12YWx1ZQ==", b"c2Vjb25kIHZhbHVl"):
        assert value in state
    assert b"Zmlyc3QgdmFsdWU=" not in state
    assert (await vault.public_key("secrets/board")).value == public_key_of(bytes(range(32, 64)))


async def test_a_repeat_from_before_gives_the_first_answer(folder: Path) -> None:
    vault = _open(folder)
    repeated = await vault.put(
        "put-openai",
        "secrets/openai",
        Kind.API_KEY,
        b"sk-golden-openai-value",
        generate=False,
        by=OPERATOR,
    )
    assert repeated.version == 1
    rotated = await vault.rotate(
        "rotate-old", "secrets/old", b"second value", generate=False, by=OPERATOR
    )
    assert rotated.version == 2


async def test_a_repeat_brings_nothing_back_that_was_shredded_before(folder: Path) -> None:
    vault = _open(folder)
    with pytest.raises(SecretNotFound):
        vault.describe("secrets/gone")
    with pytest.raises(RequestIdReused):
        await vault.put(
            "put-gone", "secrets/gone", Kind.API_KEY, b"gone value", generate=False, by=OPERATOR
        )


def test_the_root_key_is_gone(folder: Path) -> None:
    _open(folder)
    assert not (folder / "root.key").exists()


def test_nothing_that_the_root_key_opened_is_left(folder: Path) -> None:
    before = (folder / "keymanager.db").read_bytes()
    # Rows of the first release end with their ciphertext; this one fills pages of its own.
    start = before.index(b"secrets/large")
    piece = before[start + 200 : start + 232]
    _open(folder)
    files = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert piece not in files


def test_a_lost_root_key_stops_the_start_and_changes_nothing(folder: Path) -> None:
    (folder / "root.key").unlink()
    with pytest.raises(RootKeyUnusable, match="restore it from a backup"):
        _open(folder)
    shutil.copy(GOLDEN / "root.key", folder / "root.key")
    assert _open(folder).describe("secrets/old").version == 2


def test_the_root_key_of_another_database_stops_the_start(folder: Path) -> None:
    (folder / "root.key").write_bytes(bytes(32))
    with pytest.raises(RootKeyUnusable, match="another database"):
        _open(folder)


def test_a_root_key_that_belongs_to_another_database_is_left_alone(folder: Path) -> None:
    platform = FakePlatform()
    _open(folder, platform)
    (folder / "root.key").write_bytes(bytes(32))
    _open(folder, platform)
    assert (folder / "root.key").read_bytes() == bytes(32)


def test_a_first_release_that_comes_back_is_a_rollback(folder: Path) -> None:
    platform = FakePlatform()
    _open(folder, platform)
    shutil.rmtree(folder)
    shutil.copytree(GOLDEN, folder)
    with pytest.raises(RolledBack):
        _open(folder, platform)


# --- The second release --------------------------------------------------------------------------


@pytest.fixture
def second(tmp_path: Path) -> Path:
    shutil.copytree(SECOND, tmp_path / "second")
    return tmp_path / "second"


def _open_second(folder: Path) -> Vault:
    return _open(folder, FakePlatform(folder / "counter"))


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "keymanager.db", isolation_level=None)) as connection:
        connection.execute(statement)


async def _put_openai(vault: Vault) -> Secret:
    return await vault.put(
        "put-openai",
        "secrets/openai",
        Kind.API_KEY,
        b"sk-golden-openai-value",
        generate=False,
        by=OPERATOR,
    )


async def test_secrets_of_the_second_release_are_as_before(second: Path) -> None:
    vault = _open_second(second)
    listed = [(one.name, one.version) for one in vault.describe_all(after="", limit=10)]
    assert listed == [
        ("secrets/made", 1),
        ("secrets/off", 1),
        ("secrets/old", 2),
        ("secrets/openai", 1),
    ]
    assert (await vault.public_key("secrets/made")).value.hex() == MADE_SECOND
    assert vault.describe("secrets/off").state is State.DISABLED


async def test_a_repeat_from_the_second_release_has_no_second_effect(second: Path) -> None:
    for _ in range(2):
        vault = _open_second(second)
        assert (await _put_openai(vault)).version == 1
        rotated = await vault.rotate(
            "rotate-old",
            "secrets/old",
            b"second value",
            generate=False,
            by=OPERATOR,
            grace=timedelta(days=1),
        )
        assert rotated.version == 2
        with pytest.raises(RequestIdReused):
            await vault.put(
                "put-gone", "secrets/gone", Kind.API_KEY, b"gone value", generate=False, by=OPERATOR
            )


async def test_a_request_of_the_second_release_that_was_changed_stays_broken(second: Path) -> None:
    _execute(second, "UPDATE request SET version = 7 WHERE id = 'put-openai'")
    for _ in range(2):
        with pytest.raises(SealBroken):
            await _put_openai(_open_second(second))


def test_a_request_that_is_missing_after_the_migration_stops_the_start(second: Path) -> None:
    _open_second(second)
    _execute(second, "DELETE FROM request WHERE id = 'rotate-old'")
    with pytest.raises(RolledBack):
        _open_second(second)


def test_a_second_release_that_was_changed_stops_the_migration(second: Path) -> None:
    _execute(second, "DELETE FROM secret WHERE name = 'secrets/off'")
    with pytest.raises(RolledBack):
        _open_second(second)
    _execute(second, "SELECT mac FROM request")


def test_a_second_release_that_comes_back_is_a_rollback(second: Path) -> None:
    _open_second(second)
    shutil.copy(SECOND / "keymanager.db", second / "keymanager.db")
    with pytest.raises(RolledBack):
        _open_second(second)
