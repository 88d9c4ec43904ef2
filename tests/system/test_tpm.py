"""A whole system whose key manager is on a TPM, while platformd measures the services."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.home import Home
from tests.keymanager.platform.conformance.tpm import TpmBench, why_no_tpm

from .conftest import System, free_port_base

pytestmark = [pytest.mark.system, pytest.mark.tpm]


@pytest.fixture
def system() -> Iterator[System]:
    """Return a system that is down, on an empty chip, whose settings name no platformd."""
    if reason := why_no_tpm():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="actionvm-"))
    chip = TpmBench(folder / "chip")
    settings = {"KEYMANAGER_PLATFORM": "tpm2", "KEYMANAGER_TPM_TCTI": chip.tcti}
    made = System(Home(folder / "home"), free_port_base(), settings)
    yield made
    made.command("down")
    chip.close()
    shutil.rmtree(folder)


def named_key(system: System) -> str:
    """Return the key of platformd, which the first start asks to be named."""
    refused = system.up()
    system.command("down")
    found = re.search(r"the key ([0-9a-f]{64}).*KEYMANAGER_PLATFORMD_KEY", refused.output)
    assert found is not None, refused
    return found[1]


def test_the_system_keeps_its_secrets_over_a_restart_and_a_new_root(system: System) -> None:
    settings = {**system.settings, "KEYMANAGER_PLATFORMD_KEY": named_key(system)}
    system = replace(system, settings=settings)
    assert system.up().code == 0
    system.command("secrets", "put", "board-key", "--kind", "ed25519", "--generate")
    before = system.command("secrets", "show", "board-key", "--json").document
    assert system.command("recovery", "rotate-root", "--yes").code == 0
    system.command("down")
    assert system.up().code == 0

    assert system.command("secrets", "show", "board-key", "--json").document == before
