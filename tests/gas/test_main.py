"""The composition root builds a service that answers, and refuses settings that cannot work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis.telemetry import Telemetry
from gas.__main__ import open_service
from gas.config import GasConfig
from gas.market.service import CALLERS as MARKET_CALLERS
from gas.service import CALLERS

ROOT = Path(__file__).resolve().parent.parent.parent


async def test_the_service_opens_on_a_fresh_folder(tmp_path: Path) -> None:
    async with open_service(_config(tmp_path), Telemetry()) as hosted:
        assert hosted.callers == CALLERS | MARKET_CALLERS
    assert (tmp_path / "data" / "gas.db").exists()


async def test_the_data_of_the_service_is_its_own(tmp_path: Path) -> None:
    async with open_service(_config(tmp_path), Telemetry()):
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_good_settings_pass_the_check(tmp_path: Path) -> None:
    assert _check(tmp_path).returncode == 0


def test_a_bad_price_table_fails_the_check_with_its_line(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices:\n  model *: {token: 1}\n")

    checked = _check(tmp_path, GAS_PRICES_FILE=str(prices))

    assert checked.returncode == 2
    assert f"{prices}:2:13: prices.model *.token: 'token' is no meter (meters are" in checked.stderr


def test_a_key_that_can_be_guessed_fails_the_check(tmp_path: Path) -> None:
    key = tmp_path / "webhooks.key"
    key.write_bytes(bytes(31))

    checked = _check(tmp_path, GAS_WEBHOOK_KEY_FILE=str(key))

    assert checked.returncode == 2
    assert "GAS_WEBHOOK_KEY_FILE: Value error, must have 32 bytes or more" in checked.stderr


def test_a_key_that_is_not_there_fails_the_check(tmp_path: Path) -> None:
    checked = _check(tmp_path, GAS_WEBHOOK_KEY_FILE=str(tmp_path / "missing"))

    assert (checked.returncode, "GAS_WEBHOOK_KEY_FILE" in checked.stderr) == (2, True)


@pytest.mark.parametrize("name", ["GAS_PRICE_FILE", "GAS_LISTEN_ON"])
def test_a_misspelt_setting_fails_the_check(tmp_path: Path, name: str) -> None:
    checked = _check(tmp_path, **{name: "x"})

    assert (checked.returncode, name in checked.stderr) == (2, True)


def _config(folder: Path) -> GasConfig:
    return GasConfig(
        listen="127.0.0.1:0",
        data_dir=folder / "data",
        identities_file=folder / "identities.json",
        tls="off",
    )


def _check(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
        "GAS_LISTEN": "127.0.0.1:0",
        "GAS_DATA_DIR": str(folder / "data"),
        "GAS_IDENTITIES_FILE": str(folder / "identities.json"),
        "GAS_TLS": "off",
        **settings,
    }
    command = [sys.executable, "-m", "gas", "--check"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
