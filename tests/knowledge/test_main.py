"""The composition root builds a service that answers."""

from __future__ import annotations

from pathlib import Path

from chassis.telemetry import Telemetry
from knowledge.__main__ import open_service
from knowledge.config import KnowledgeConfig
from knowledge.service import CALLERS


def _config(folder: Path) -> KnowledgeConfig:
    return KnowledgeConfig(
        listen="127.0.0.1:0",
        data_dir=folder / "data",
        identities_file=folder / "identities.json",
        tls="off",
    )


async def test_the_service_opens_on_a_fresh_folder(tmp_path: Path) -> None:
    async with open_service(_config(tmp_path), Telemetry()) as hosted:
        assert hosted.callers == CALLERS


async def test_the_service_opens_again_where_it_was(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_service(_config(tmp_path), Telemetry()):
            assert (tmp_path / "data" / "knowledge.db").exists()


async def test_only_its_owner_may_enter_the_folder(tmp_path: Path) -> None:
    async with open_service(_config(tmp_path), Telemetry()):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
