"""An epoch is sealed for the code that runs, and for its signer as soon as there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from keymanager.epochs import EpochUnusable
from tests.fakes.platform import FakePlatform
from tests.keymanager.vaults import OPERATOR, Bench


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
