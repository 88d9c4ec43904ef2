"""Ten watchers of a run over gRPC, in a process of their own; its model writes as fast as it may.

`python benchmarks/runtime_watching.py serve WORDS PACE` prints tokens per second as each of them
sees them, and how late. A word is a token, and says when it was written, by the clock that all
processes here share.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actionvm.runtime.v1 import runtime_pb2 as pb
from actionvm.runtime.v1 import runtime_pb2_grpc
from benchmarks.runtime_engine import new_run, seal, stage
from chassis.config import ServiceConfig
from chassis.log import install_log
from chassis.server import start_server
from chassis.tls import Bearer
from runtime.conductor import Conductor
from runtime.journal.opening import open_journal, open_journal_database
from runtime.ports import Generation, Prompt
from runtime.service import RuntimeService, hosted
from tests.fakes.runtime_ports import FakeModel, answer
from tests.grpc_fixtures import identities_json, token_of

WATCHERS = 10
# Words that a model writes before others get their turn: those of a chunk of its answer.
CHUNK = 8


class Writer(FakeModel):
    """Writes so many words, each of them the time in microseconds, at a pace in words per second.

    It waits for its watchers before the first word.
    """

    def __init__(self, words: int, pace: float) -> None:
        super().__init__()
        self.may_begin = asyncio.Event()
        self._words = words
        self._pace = pace

    async def generate(
        self,
        prompt: Prompt,  # noqa: ARG002  # what is asked does not matter
    ) -> AsyncGenerator[str | Generation, None]:
        await self.may_begin.wait()
        start = time.perf_counter()
        for count in range(0, self._words, CHUNK):
            ahead = start + count / self._pace - time.perf_counter()
            await asyncio.sleep(max(0.0, ahead))
            for _ in range(CHUNK):
                yield f"{time.monotonic_ns() // 1_000} "
        yield answer("done")


def measure(words: int, pace: float) -> dict[str, float]:
    """Return what the watchers of one run have seen."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, "watch", f"unix:{home}/runtime.sock"]
        # Before this process has threads of gRPC, which no other may inherit.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watchers:
            seen = uvloop.run(_serve(Path(home), watchers, Writer(words, pace)))
    assert seen["words"] == WATCHERS * words, "nobody missed a word"
    return {"tokens_per_s": words / seen["seconds"], "latency_ms": seen["latency_ms"]}


async def _serve(home: Path, watchers: subprocess.Popen[str], model: Writer) -> dict[str, float]:
    assert watchers.stdin is not None
    assert watchers.stdout is not None
    engine = open_journal_database(home / "runtime.db")
    its = stage(open_journal(engine), model)
    conductor = Conductor(its)
    await conductor.start()
    service = RuntimeService(stage=its, conductor=conductor, dice=random.SystemRandom())
    identities = home / "identities.json"
    identities.write_text(identities_json())
    config = ServiceConfig(
        data_dir=home, listen=f"unix:{home}/runtime.sock", identities_file=identities, tls="off"
    )
    server = await start_server(config, hosted(service))
    run = await conductor.open(new_run(seal()))
    print(run.name, file=watchers.stdin, flush=True)
    await asyncio.to_thread(watchers.stdout.readline)
    model.may_begin.set()
    seen: dict[str, float] = json.loads(await asyncio.to_thread(watchers.stdout.readline))
    await conductor.stop()
    await server.grpc_server.stop(0)
    engine.dispose()
    return seen


async def watch(address: str, run: str) -> None:
    """Watch a run with all watchers, and print what they have seen."""
    ready = asyncio.Semaphore(0)

    async def watcher() -> list[tuple[int, int]]:
        seen = list[tuple[int, int]]()
        async with Bearer(token_of("operator")).connect(address, "peer") as channel:
            stub = runtime_pb2_grpc.RuntimeServiceStub(channel)
            async for event in stub.WatchRun(pb.WatchRunRequest(name=run)):
                if event.sequence == 1:
                    ready.release()
                now = time.monotonic_ns() // 1_000
                seen += [(int(word), now) for word in event.delta.text.split()]
        return seen

    watching = [asyncio.create_task(watcher()) for _ in range(WATCHERS)]
    for _ in watching:
        await ready.acquire()
    print("watching", flush=True)
    seen = [pair for task in watching for pair in await task]
    written, read = zip(*seen, strict=True)
    latency = statistics.median(late - early for early, late in seen) / 1e3
    seconds = (max(read) - min(written)) / 1e6
    print(json.dumps({"words": len(seen), "seconds": seconds, "latency_ms": latency}), flush=True)


def main() -> None:
    """Measure once, or be the watchers of somebody who does."""
    if sys.argv[1] == "watch":
        uvloop.run(watch(sys.argv[2], sys.stdin.readline().strip()))
        return
    words, pace = sys.argv[2:]
    install_log("runtime", "info")
    print(json.dumps(measure(int(words), float(pace))))


if __name__ == "__main__":
    main()
