"""A vault lives on a TPM: from an empty chip over restarts to a new root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.clock import SystemClock
from keymanager.database import open_vault_store
from keymanager.epochs import EpochUnusable
from keymanager.errors import RolledBack
from keymanager.platform.port import Platform
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.vault import Vault
from tests.keymanager.platform.conformance.bench import Identity
from tests.keymanager.platform.conformance.tpm import TpmBench, why_no_tpm
from tests.keymanager.vaults import OPERATOR, RUNTIME, sign

pytestmark = pytest.mark.tpm

OURS = Identity()
UNSIGNED = Identity(debug=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TpmBench]:
    """Start an empty chip."""
    if reason := why_no_tpm():
        pytest.skip(reason)
    made = TpmBench(tmp_path / "tpm")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the key manager."""
    (tmp_path / "data" / "empty").mkdir(parents=True)
    return tmp_path / "data"


def opened(folder: Path, platform: Platform) -> Vault:
    """Open the vault, as a new process does."""
    clock = SystemClock()
    _, store = open_vault_store(folder, platform, clock=clock, random_bytes=os.urandom)
    return Vault(store)


async def put(vault: Vault) -> None:
    """Put a key that nobody knows."""
    await vault.put("r1", "secrets/a", Kind.ED25519, b"", generate=True, by=OPERATOR)


async def signature(vault: Vault) -> object:
    """Use it."""
    return await sign(vault, "secrets/a", Purpose.REQUEST, b"message", by=RUNTIME)


@pytest.mark.parametrize("identity", [OURS, UNSIGNED], ids=["signed", "unsigned"])
async def test_a_key_signs_the_same_after_a_restart_and_with_a_new_root(
    bench: TpmBench, folder: Path, identity: Identity
) -> None:
    vault = opened(folder, bench.become(identity))
    await put(vault)
    before = await signature(vault)
    bench.crash()
    vault = opened(folder, bench.become(identity))
    after = await signature(vault)
    await vault.rotate_root("root", by=OPERATOR)
    bench.crash()

    assert [after, await signature(opened(folder, bench.become(identity)))] == [before] * 2


async def test_a_missing_database_stops_the_start(bench: TpmBench, folder: Path) -> None:
    await put(opened(folder, bench.become(OURS)))

    with pytest.raises(RolledBack, match="missing"):
        opened(folder / "empty", bench.become(OURS))


async def test_newer_code_of_the_signer_opens_it(bench: TpmBench, folder: Path) -> None:
    await put(opened(folder, bench.become(OURS)))
    newer = Identity(code="release 3", security_version=3)

    assert await signature(opened(folder, bench.become(newer)))


async def test_other_code_opens_nothing_that_unsigned_code_sealed(
    bench: TpmBench, folder: Path
) -> None:
    await put(opened(folder, bench.become(UNSIGNED)))

    with pytest.raises(EpochUnusable):
        opened(folder, bench.become(Identity(code="release 3", debug=True)))
