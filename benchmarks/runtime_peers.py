"""One round of a peer of the runtime, in the environment that `install-runtime-peers` makes.

`python benchmarks/runtime_peers.py ENGINE --workflows N --place PLACE` prints steps per second and
microseconds of CPU per step. A workflow is ten steps, each of which adds one to a number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypedDict

STEPS = 10
IN_FLIGHT = 32

Workflow = Callable[[], Awaitable[int]]


class Counted(TypedDict):
    """The state of a workflow of LangGraph."""

    number: int


@asynccontextmanager
async def langgraph_sqlite(place: str) -> AsyncIterator[Workflow]:
    """Keep checkpoints in a file; the saver sets WAL, and FULL is what SQLite does by itself."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415  # only who is measured

    async with AsyncSqliteSaver.from_conn_string(f"{place}/langgraph.db") as saver:
        await saver.setup()
        yield _graph(saver)


@asynccontextmanager
async def langgraph_postgres(place: str) -> AsyncIterator[Workflow]:
    """Keep checkpoints in PostgreSQL."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415  # only who is measured
    from psycopg.rows import dict_row  # noqa: PLC0415  # only who is measured
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415  # only who is measured

    url = place.replace("postgresql+psycopg:", "postgresql:")
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(url, min_size=10, max_size=20, kwargs=options) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        yield _graph(saver)


def _graph(saver: object) -> Workflow:
    from langgraph.graph import END, START, StateGraph  # noqa: PLC0415  # only who is measured

    async def add(state: Counted) -> Counted:
        return {"number": state["number"] + 1}

    graph = StateGraph(Counted)
    names = [f"step{number}" for number in range(STEPS)]
    for name in names:
        graph.add_node(name, add)
    for left, right in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(left, right)
    compiled = graph.compile(checkpointer=saver)

    async def workflow() -> int:
        thread = {"configurable": {"thread_id": str(uuid.uuid4())}}
        ended = await compiled.ainvoke({"number": 0}, thread, durability="sync")
        return int(ended["number"])

    return workflow


@asynccontextmanager
async def dbos_sqlite(place: str) -> AsyncIterator[Workflow]:
    """Keep steps in a file as it comes: with a rollback journal."""
    async with _dbos(f"sqlite:///{place}/dbos.db") as workflow:
        yield workflow


@asynccontextmanager
async def dbos_sqlite_wal(place: str) -> AsyncIterator[Workflow]:
    """Keep steps in a file with WAL, which is faster."""
    from sqlalchemy import create_engine, event  # noqa: PLC0415  # only who is measured

    url = f"sqlite:///{place}/dbos.db"
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def configure(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # of the driver
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    async with _dbos(url, system_database_engine=engine) as workflow:
        yield workflow


@asynccontextmanager
async def dbos_postgres(place: str) -> AsyncIterator[Workflow]:
    """Keep steps in PostgreSQL."""
    async with _dbos(place) as workflow:
        yield workflow


@asynccontextmanager
async def _dbos(url: str, **options: object) -> AsyncIterator[Workflow]:
    from dbos import DBOS  # noqa: PLC0415  # only who is measured

    config = {"name": "bench", "system_database_url": url, "log_level": "ERROR", **options}
    DBOS(config=config)

    @DBOS.step()
    async def add(number: int) -> int:
        return number + 1

    @DBOS.workflow()
    async def count() -> int:
        number = 0
        for _ in range(STEPS):
            number = await add(number)
        return number

    DBOS.launch()

    async def workflow() -> int:
        return int(await count())

    try:
        yield workflow
    finally:
        DBOS.destroy()


ENGINES = {
    opened.__name__: opened
    for opened in (
        langgraph_sqlite,
        langgraph_postgres,
        dbos_sqlite,
        dbos_sqlite_wal,
        dbos_postgres,
    )
}


async def measure(engine: str, workflows: int, place: str) -> dict[str, float]:
    """Return what so many workflows take, after a few to warm up."""
    async with ENGINES[engine](place) as workflow:
        left = iter(range(workflows))

        async def caller() -> None:
            for _ in left:
                assert await workflow() == STEPS

        await asyncio.gather(*(workflow() for _ in range(IN_FLIGHT // 4)))
        cpu, start = _cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    steps = workflows * STEPS
    return {"steps_per_s": steps / seconds, "cpu_us": cpu / steps * 1e6}


def _cpu_seconds() -> float:
    """Return what this process has used, with all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=sorted(ENGINES))
    parser.add_argument("--workflows", type=int, required=True)
    parser.add_argument("--place", required=True, help="a folder, or the URL of a database")
    asked = parser.parse_args()
    figures = asyncio.run(measure(asked.engine, asked.workflows, asked.place))
    sys.stdout.write(f"{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
