"""What the linker adds to a remote model: `python benchmarks/linker_remote.py [--quick]`.

Prints one line of JSON per figure. The linker and gas are processes of their own, as they are
started anywhere, with the official package of OpenAI; the provider answers at once. Each call is
authorised, has a key on lease, a rate budget, gas held before and charged after. The peer is the
same package that asks the same server itself. All of it shares this machine: the calls per second
of CPU of the linker are what a core to itself would do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import uvloop
from grpc import aio
from openai import AsyncOpenAI

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from benchmarks.lines import write_line
from chassis.clock import SystemClock
from chassis.config import ServiceConfig
from chassis.server import start_server
from chassis.tls import Bearer
from tests.grpc_fixtures import identities_json, token_of
from tests.keymanager.authorities import host
from tests.keymanager.vaults import Bench, HandSetClock

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "agents/bench"
MODEL = "bench/m"
IN_FLIGHT = 32
TEXT = "Say two words about the weather of tomorrow, please. " * 3
PRICES = """
rate: {micros_per_thousand_gas: 100, currency: USD}
prices:
  model bench/*: {input_tokens: 100, output_tokens: 1000}
"""
PROVIDERS = """
providers:
  bench:
    kind: openai-compatible
    url: http://127.0.0.1:{port}/v1
    rate: {{requests_per_minute: 10000000, tokens_per_minute: 10000000000, in_flight_max: 256}}
"""

Ask = Callable[[], Awaitable[None]]


@contextmanager
def child(*command: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of this repository while the block runs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}  # noqa: TID251  # a child process needs PATH and its kind
    with subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def settings_of(service: str, folder: Path) -> dict[str, str]:
    """Return what every service must be told."""
    name = service.upper()
    (folder / f"{service}.token").write_text(token_of(service))
    return {
        f"{name}_LISTEN": f"unix:{folder}/{service}.sock",
        f"{name}_DATA_DIR": str(folder / service),
        f"{name}_IDENTITIES_FILE": str(folder / "identities.json"),
        f"{name}_TOKEN_FILE": str(folder / f"{service}.token"),
        f"{name}_TLS": "off",
        f"{name}_LOG_LEVEL": "error",
    }


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[int, aio.Channel, psutil.Process]]:
    """Start all; yield the port of the provider, a channel to the linker, and its process."""
    (folder / "identities.json").write_text(identities_json())
    (folder / "prices.yaml").write_text(PRICES)
    async with AsyncExitStack() as stack:
        upstream = stack.enter_context(child("benchmarks/openai_upstream.py"))
        assert upstream.stdout is not None, "it was asked for"
        port = int(upstream.stdout.readline())
        (folder / "providers.yaml").write_text(PROVIDERS.format(port=port))
        keymanager = await stack.enter_async_context(serving_keys(folder))
        gas = settings_of("gas", folder) | {"GAS_PRICES_FILE": str(folder / "prices.yaml")}
        stack.enter_context(child("-m", "gas", **gas))
        linker = settings_of("linker", folder) | {
            "LINKER_GAS_ADDRESS": gas["GAS_LISTEN"],
            "LINKER_KEYMANAGER_ADDRESS": keymanager,
            "LINKER_MODELS_DIR": str(folder),
            "LINKER_PROVIDERS_FILE": str(folder / "providers.yaml"),
        }
        process = stack.enter_context(child("-m", "linker", **linker))
        await limit(gas["GAS_LISTEN"])
        channel = Bearer(token_of("runtime")).connect(linker["LINKER_LISTEN"], "peer")
        await stack.enter_async_context(channel)
        await asyncio.wait_for(channel.channel_ready(), 60)
        yield port, channel, psutil.Process(process.pid)


@asynccontextmanager
async def serving_keys(folder: Path) -> AsyncIterator[str]:
    """Serve a key manager with one key; it is asked once."""
    # Its lease has to be good now.
    bench = Bench(clock=HandSetClock(SystemClock().now()))
    await bench.put("secrets/bench", b"sk-bench")
    settings = {key.partition("_")[2].lower(): value for key, value in _keymanager(folder)}
    server = await start_server(ServiceConfig(**settings), host(bench))  # type: ignore[arg-type]  # by name
    yield server.address
    await server.grpc_server.stop(0)


def _keymanager(folder: Path) -> list[tuple[str, str]]:
    found = settings_of("keymanager", folder)
    found["KEYMANAGER_LISTEN"] = "127.0.0.1:0"
    return sorted(found.items())


async def limit(address: str) -> None:
    """Let the account spend."""
    budget = gas_pb2.Budget(
        account=ACCOUNT,
        origin=gas_pb2.Budget.ORIGIN_OPERATOR,
        period=gas_pb2.Budget.PERIOD_DAY,
        gas_limit=10**15,
    )
    async with Bearer(token_of("operator")).connect(address, "peer") as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        stub = gas_pb2_grpc.GasServiceStub(channel)
        await stub.SetBudget(gas_pb2.SetBudgetRequest(budget=budget))


async def through_linker(channel: aio.Channel) -> Ask:
    """Return what asks the model through the linker."""
    stub = linker_pb2_grpc.LinkerServiceStub(channel)
    config = linker_pb2.ModelConfig(model=MODEL, credential="secrets/bench")
    linked = await stub.LinkModel(
        linker_pb2.LinkModelRequest(config=config, account=ACCOUNT), timeout=60
    )
    run = f"runs/{uuid.uuid4()}"

    async def ask() -> None:
        request = linker_pb2.GenerateRequest(
            request_id=str(uuid.uuid4()),
            link=linked.link.name,
            account=ACCOUNT,
            run=run,
            messages=[linker_pb2.Message(role=linker_pb2.Message.ROLE_USER, text=TEXT)],
            tokens_max=64,
        )
        last = None
        async for event in stub.Generate(request, timeout=60):
            last = event
        assert last is not None, "a generation has an end"
        assert last.finished.gas > 0, "it is paid"

    return ask


def directly(client: AsyncOpenAI) -> Ask:
    """Return what asks the model itself."""

    async def ask() -> None:
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": TEXT}],
            max_completion_tokens=64,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for _ in stream:
            pass

    return ask


async def latencies(ask: Ask, count: int) -> list[float]:
    """Return milliseconds of calls, one after another."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        await ask()
        found.append((time.perf_counter() - start) * 1_000)
    return found


async def rate(ask: Ask, count: int) -> float:
    """Return calls per second of many in flight."""
    numbers = iter(range(count))

    async def caller() -> None:
        for _ in numbers:
            await ask()

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - start)


async def measure(*, rounds: int, count: int) -> None:
    """Print the figures: medians over the rounds, in which linker and peer take turns."""
    with tempfile.TemporaryDirectory() as home:
        async with running(Path(home)) as (port, channel, process):
            client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-bench")
            ask, peer = await through_linker(channel), directly(client)
            for warm in (ask, peer):
                await rate(warm, count // 4)
            added, rates, peer_rates, per_cpu = [], [], [], []
            for _ in range(rounds):
                alone = statistics.median(await latencies(peer, count // 4))
                added.append(statistics.median(await latencies(ask, count // 4)) - alone)
                before = sum(process.cpu_times()[:2])
                rates.append(await rate(ask, count))
                per_cpu.append(count / (sum(process.cpu_times()[:2]) - before))
                peer_rates.append(await rate(peer, count))
            await client.close()
    write_line(figure="added_latency_p50_ms", value=statistics.median(added), goal=3.0)
    write_line(figure="calls_per_second", value=statistics.median(rates), goal=500.0)
    write_line(figure="calls_per_cpu_second_of_the_linker", value=statistics.median(per_cpu))
    write_line(figure="calls_per_second_of_the_package_alone", value=statistics.median(peer_rates))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls, to see that it works")
    quick = parser.parse_args().quick
    uvloop.run(measure(rounds=1 if quick else 5, count=200 if quick else 2_000))


if __name__ == "__main__":
    main()
