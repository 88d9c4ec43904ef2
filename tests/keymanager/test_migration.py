"""What the first release sealed is opened once, sealed again, and its root key destroyed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from chassis.errors import RequestIdReused
from keymanager.database import open_vault_store
from keymanager.errors import RolledBack, SecretNotFound
from keymanager.first_release import RootKeyUnusable
from keymanager.secret import Kind
from keymanager.vault import Vault
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import OPERATOR, HandSetClock, public_key_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keymanager-1"

# What was in the golden database when the first release made it.
BUNDLES = "0c51c67faa93d3fd677edc222df5d8346af23f780df3cb3a5f8dca3537b8cddd"
RECEIPTS = "6062cd0e24eda2645bec9925fe9ba3cd466c6c373489bc9c2c74235495f726a6"
MADE = "c1a52a456f0a0155c43d02f740eca175542ad968fe3caa01c2b90c86358a7029"


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
