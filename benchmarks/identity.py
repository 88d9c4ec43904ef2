"""Measures what TLS costs a call: latency, and CPU of the server, in the clear and under mTLS.

    make bench NAME=identity ARGS="--calls 20000"

The call is `GetPublicKey` of a real key manager in a process of its own: one read of a row. Rates
depend on the machine and on what else it does; the differences in CPU are the fairer guide.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.config import ServiceConfig
from chassis.identity import OPERATOR
from chassis.tls import Bearer, connect_with_token
from enrolment.join import join
from tests.grpc_fixtures import identities_json, token_of

ROOT = Path(__file__).resolve().parent.parent
REQUEST = pb.GetPublicKeyRequest(key="keys/receipts")
HANDSHAKES = 100


def start(folder: Path, tls: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start a key manager and return it with the line in which it says where it listens."""
    (folder / "identities.json").write_text(identities_json())
    (folder / "token").write_text(token_of("runtime"))
    settings = {
        "LISTEN": "127.0.0.1:0",
        "PEER_LISTEN": "127.0.0.1:0",
        "CA_FILE": str(folder / "ca.pem"),
        "DATA_DIR": str(folder / "data"),
        "IDENTITIES_FILE": str(folder / "identities.json"),
        "TOKEN_FILE": str(folder / "token"),
        # Without its log, which would cost more than the difference.
        "LOG_LEVEL": "info",
        "TLS": tls,
    }
    environment = {
        **os.environ,  # noqa: TID251  # a child process needs PATH and its kind
        "PYTHONPATH": str(ROOT),
        **{f"KEYMANAGER_{name}": value for name, value in settings.items()},
    }
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "keymanager"], cwd=ROOT, env=environment, text=True, stdout=log
    )
    while True:
        for line in (folder / "log").read_text().splitlines():
            if "service.started" in line and line.endswith("}"):
                return process, json.loads(line)
        assert process.poll() is None, "the key manager did not start"
        os.sched_yield()


@asynccontextmanager
async def connected(kind: str, folder: Path, started: dict[str, str]) -> AsyncIterator[Any]:
    """Give a channel: in the clear, of a person, or of a service."""
    if kind == "token, in the clear":
        async with Bearer(token_of("runtime")).connect(started["address"], "") as channel:
            yield channel
        return
    if kind == "token, TLS":
        authority = (folder / "ca.pem").read_bytes()
        token = token_of(OPERATOR)
        address = started["address"]
        async with connect_with_token(
            address, "keymanager", token=token, authority=authority
        ) as channel:
            yield channel
        return
    config = ServiceConfig(
        listen="127.0.0.1:0",
        peer_listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        ca_file=folder / "ca.pem",
        issuer_address=started["address"],
        issuer_peer_address=started["peer_address"],
        token_file=folder / "token",
    )
    async with (
        join(config) as member,
        member.connect(started["peer_address"], "keymanager") as channel,
    ):
        yield channel


async def measure(kind: str, folder: Path, started: dict[str, str], calls: int) -> None:
    """Print one line: connecting, one call after the other, and 32 at a time."""
    opening = []
    for _ in range(HANDSHAKES if kind != "certificate, mTLS" else 20):
        async with connected(kind, folder, started) as channel:
            stub: Any = keymanager_pb2_grpc.KeymanagerServiceStub(channel)
            before = time.perf_counter()
            await stub.GetPublicKey(REQUEST)
            opening.append(time.perf_counter() - before)
    async with connected(kind, folder, started) as channel:
        stub = keymanager_pb2_grpc.KeymanagerServiceStub(channel)
        await _spend(stub, 200, in_flight=8)
        single = await _spend(stub, calls // 4, in_flight=1)
        server = psutil.Process(int(started["pid"]))
        cpu, before = _cpu(server), time.perf_counter()
        many = await _spend(stub, calls, in_flight=32)
        rate, cpu = calls / (time.perf_counter() - before), _cpu(server) - cpu
    print(
        f"{kind:22} connect + call p50 {1e3 * statistics.median(opening):6.2f} ms   "
        f"1 in flight p50 {1e3 * statistics.median(single):5.2f} ms   32 in flight "
        f"p50 {1e3 * statistics.median(many):6.2f} ms, {rate:6.0f}/s, "
        f"server {1e6 * cpu / calls:4.0f} us CPU"
    )


async def _spend(stub: Any, calls: int, *, in_flight: int) -> list[float]:  # noqa: ANN401  # its types are sync
    numbers, seconds = iter(range(calls)), []

    async def work() -> None:
        for _ in numbers:
            before = time.perf_counter()
            await stub.GetPublicKey(REQUEST)
            seconds.append(time.perf_counter() - before)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return seconds


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure all three ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=8_000)
    calls = parser.parse_args().calls
    kinds = {"off": ["token, in the clear"], "on": ["token, TLS", "certificate, mTLS"]}
    for tls, measured in kinds.items():
        with tempfile.TemporaryDirectory() as home:
            process, started = start(Path(home), tls)
            try:
                for kind in measured:
                    uvloop.run(measure(kind, Path(home), started, calls))
            finally:
                process.terminate()
                process.wait(20)


if __name__ == "__main__":
    main()
