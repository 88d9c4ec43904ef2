"""The composition root builds a service that answers, and refuses settings that cannot work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis.telemetry import Telemetry
from linker.__main__ import _providers, open_service
from linker.config import LinkerConfig
from linker.providers.recordings import RecordingProvider, ReplayingProvider
from linker.service import CALLERS

ROOT = Path(__file__).resolve().parent.parent.parent


def config_in(folder: Path) -> LinkerConfig:
    (folder / "token").write_text("secret\n")
    return LinkerConfig(
        listen="127.0.0.1:0",
        data_dir=folder / "data",
        identities_file=folder / "identities.json",
        token_file=folder / "token",
        tls="off",
        gas_address="127.0.0.1:1",
        keymanager_address="127.0.0.1:1",
        models_dir=folder,
    )


async def test_the_service_opens_without_its_peers(tmp_path: Path) -> None:
    async with open_service(config_in(tmp_path), Telemetry()) as hosted:
        assert hosted.callers == CALLERS
    assert (tmp_path / "data" / "linker.db").exists()


async def test_replay_and_record_are_settings(tmp_path: Path) -> None:
    for mode, kind in (("record", RecordingProvider), ("replay", ReplayingProvider)):
        config = config_in(tmp_path).model_copy(
            update={"recordings": tmp_path / "said", "recordings_mode": mode}
        )
        assert {type(one) for one in _providers(config, {}).values()} == {kind}
        async with open_service(config, Telemetry()) as hosted:
            assert hosted.callers == CALLERS


async def test_the_data_of_the_service_is_its_own(tmp_path: Path) -> None:
    async with open_service(config_in(tmp_path), Telemetry()):
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_half_of_the_cores_are_left_to_others(tmp_path: Path) -> None:
    assert config_in(tmp_path).threads <= max(1, (os.cpu_count() or 1) // 2)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, 0),
        ({"LINKER_THREADS": "0"}, 2),
        ({"LINKER_MODEL_DIR": "x"}, 2),
        ({"LINKER_PROVIDERS_FILE": "/nonexistent"}, 2),
    ],
    ids=str,
)
def test_the_check_tells_good_settings_from_bad(
    tmp_path: Path, settings: dict[str, str], code: int
) -> None:
    environment = {
        **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
        "LINKER_LISTEN": "127.0.0.1:0",
        "LINKER_DATA_DIR": str(tmp_path / "data"),
        "LINKER_IDENTITIES_FILE": str(tmp_path / "identities.json"),
        "LINKER_TOKEN_FILE": str(tmp_path / "token"),
        "LINKER_TLS": "off",
        "LINKER_GAS_ADDRESS": "127.0.0.1:1",
        "LINKER_KEYMANAGER_ADDRESS": "127.0.0.1:1",
        "LINKER_MODELS_DIR": str(tmp_path),
        **settings,
    }
    command = [sys.executable, "-m", "linker", "--check"]
    checked = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert checked.returncode == code, checked.stderr
    assert all(name in checked.stderr for name in settings) or code == 0


def test_the_linker_starts_without_llama_cpp() -> None:
    program = "import sys, linker.__main__; sys.exit('llama_cpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
