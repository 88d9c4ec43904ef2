"""Starts the knowledge storage: `python -m knowledge`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis import server
from chassis.clock import SystemClock
from chassis.config import load
from chassis.database import open_database
from chassis.server import Hosted
from chassis.telemetry import Telemetry
from enrolment.join import join

from .config import KnowledgeConfig
from .embedding import HashingEmbedder
from .service import KnowledgeService, hosted
from .store import TABLES, KnowledgeStore


@asynccontextmanager
async def open_service(config: KnowledgeConfig, _telemetry: Telemetry) -> AsyncIterator[Hosted]:
    """Build the service on the documents of its data folder."""
    folder = server.ensure_private_folder(config.data_dir)
    engine = open_database(folder / "knowledge.db", TABLES)
    try:
        store = KnowledgeStore(engine, HashingEmbedder(), clock=SystemClock())
        async with join(config) as member:
            yield hosted(KnowledgeService(store)).of(member)
    finally:
        engine.dispose()


def main() -> None:
    """Serve until SIGTERM."""
    server.run("knowledge", load(KnowledgeConfig), open_service)


if __name__ == "__main__":
    main()
