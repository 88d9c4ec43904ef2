"""An epoch is sealed for the code that runs, and for its signer as soon as there is one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chassis.database import open_database
from keymanager.epochs import EpochUnusable
from keymanager.rows import TABLES, VERSION
from keymanager.store import VaultStore
from tests.fakes.platform import FakePlatform
from tests.keymanager.platform.conformance.bench import Identity, SoftBench
from tests.keymanager.vaults import OPERATOR, Bench, HandSetClock


@pytest.fixture
async def unsigned(tmp_path: Path) -> Bench:
    """Return a vault of code that nobody has signed, with a secret."""
    bench = Bench(tmp_path / "keymanager.db", platform=FakePlatform(is_signed=False))
    await bench.put("secrets/a")
    return bench


async def test_what_unsigned_code_sealed_it_opens_again(unsigned: Bench) -> None:
    unsigned.open()

    assert await unsigned.vault.public_key("secrets/a")


async def test_other_code_does_not_open_what_unsigned_code_sealed(unsigned: Bench) -> None:
    unsigned.platform.code = "other"
    unsigned.platform.is_signed = True

    with pytest.raises(EpochUnusable):
        unsigned.open()


async def test_once_it_is_signed_later_code_opens_it(unsigned: Bench) -> None:
    unsigned.platform.is_signed = True
    unsigned.open()
    unsigned.platform.code = "later"
    unsigned.open()

    assert await unsigned.vault.public_key("secrets/a")


async def test_unsigned_code_rotates_the_root(unsigned: Bench) -> None:
    await unsigned.vault.rotate_root("root", by=OPERATOR)
    unsigned.open()

    assert await unsigned.vault.public_key("secrets/a")


# --- Releases, on a real platformd ---------------------------------------------------------------

SECOND = Identity()
THIRD = Identity(code="release 3", security_version=3)


@pytest.fixture
def soft(tmp_path: Path) -> Iterator[SoftBench]:
    """Start a platform."""
    made = SoftBench(tmp_path / "platform")
    yield made
    made.close()


@pytest.fixture
def engine(tmp_path: Path, soft: SoftBench) -> Iterator[Engine]:
    """Return the file of a vault that the second release made."""
    made = open_database(tmp_path / "keymanager.db", TABLES, version=VERSION)
    open_with(made, soft, SECOND)
    yield made
    made.dispose()


def open_with(engine: Engine, soft: SoftBench, release: Identity) -> None:
    """Open a vault as a release does."""
    dice = random.Random(3)
    VaultStore(engine, soft.become(release), clock=HandSetClock(), random_bytes=dice.randbytes)


def test_an_older_release_does_not_open_what_a_newer_one_has_opened(
    engine: Engine, soft: SoftBench
) -> None:
    open_with(engine, soft, SECOND)
    open_with(engine, soft, THIRD)

    with pytest.raises(EpochUnusable, match="newer code sealed it"):
        open_with(engine, soft, SECOND)

    open_with(engine, soft, THIRD)


def test_a_later_release_of_the_same_security_version_can_be_undone(
    engine: Engine, soft: SoftBench
) -> None:
    open_with(engine, soft, replace(SECOND, code="release 2.1"))

    open_with(engine, soft, SECOND)
