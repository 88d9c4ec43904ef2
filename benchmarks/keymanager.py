"""How fast keys are used: `python benchmarks/keymanager.py [--quick]`.

Prints one line of JSON per figure. The key manager is a process of its own on the real emulated
platform; callers are in this one, under mTLS, as the runtime. Every use is decided by the policy
and on disk with its record before it is answered. The peer is the health check of the same server
over the same connection, which is what gRPC and TLS cost alone.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc, recovery_pb2, recovery_pb2_grpc
from chassis.config import ServiceConfig
from chassis.identity import OPERATOR
from chassis.log import install_log
from chassis.server import start_server
from chassis.tls import connect_with_token
from cli.services import PLATFORM_PROGRAM, ROOT
from enrolment.join import join
from keymanager.__main__ import open_on
from keymanager.config import KeymanagerConfig
from keymanager.platform.opening import open_platform
from keymanager.platform.port import Measurement, Platform, Quote, SealPolicy
from tests.fakes.platform import FakeAttester, FakePlatform
from tests.grpc_fixtures import identities_json, token_of

IN_FLIGHT = 32
BATCH = 32
SECRETS = 10_000
CHANNELS = 4
QUOTES = FakePlatform()


class BenchPlatform:
    """The emulated platform, but that quotes are believed of whoever measures here."""

    def __init__(self, real: Platform) -> None:
        self.real = real

    def measure(self) -> Measurement:
        return QUOTES.measure()

    def quote(self, report_data: bytes) -> Quote:
        return QUOTES.quote(report_data)

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes:
        return self.real.seal(content, policy, label)

    def unseal(self, sealed: bytes, label: str) -> bytes:
        return self.real.unseal(sealed, label)

    def has_counted(self) -> bool:
        return self.real.has_counted()

    def read_counter(self) -> int:
        return self.real.read_counter()

    def increment_counter(self) -> int:
        return self.real.increment_counter()


def settings(folder: Path) -> KeymanagerConfig:
    """Return the settings of the key manager in a folder."""
    return KeymanagerConfig(
        listen="127.0.0.1:0",
        peer_listen="127.0.0.1:0",
        data_dir=folder / "data",
        identities_file=folder / "identities.json",
        ca_file=folder / "ca.pem",
        platform_socket=folder / "platformd.sock",
    )


async def serve(folder: Path) -> None:
    """Be the key manager until killed."""
    install_log("keymanager", "info")
    config = settings(folder)
    platform = BenchPlatform(open_platform(config, random_bytes=os.urandom))
    async with open_on(platform, config) as hosted:
        server = await start_server(config, hosted)
        (folder / "address").write_text(f"{server.address} {server.peer_address}\n")
        await asyncio.Event().wait()


@contextmanager
def running() -> Iterator[tuple[Path, psutil.Process]]:
    """Start platform and key manager below a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "identities.json").write_text(identities_json())
        platform_settings = {
            "PLATFORMD_SOCKET": str(folder / "platformd.sock"),
            "PLATFORMD_DATA_DIR": str(folder / "platform"),
        }
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-I", "-c", PLATFORM_PROGRAM], env=platform_settings, stderr=log
            ) as platform,
            subprocess.Popen(
                [sys.executable, __file__, "--serve", name],
                cwd=ROOT,
                env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            ) as server,
        ):
            try:
                while not (folder / "address").exists():
                    assert server.poll() is None, (folder / "log").read_text()
                    os.sched_yield()
                yield folder, psutil.Process(server.pid)
            finally:
                server.kill()
                platform.kill()


@dataclass(frozen=True)
class Callers:
    """Channels of the runtime, each a connection of its own, and one of the operator."""

    channels: list[Any]
    operator: Any

    def stubs(self, kind: Callable[[Any], Any]) -> list[Any]:
        """Return a stub on each channel of the runtime."""
        return [kind(channel) for channel in self.channels]


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Callers]:
    """Join as the runtime, and connect as a person."""
    address, peer_address = (folder / "address").read_text().split()
    config = ServiceConfig(
        listen="127.0.0.1:0",
        peer_listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        ca_file=folder / "ca.pem",
        platform_socket=folder / "platformd.sock",
        issuer_address=address,
        issuer_peer_address=peer_address,
    )
    authority = (folder / "ca.pem").read_bytes()
    person = connect_with_token(
        address, "keymanager", token=token_of(OPERATOR), authority=authority
    )
    async with join(config, FakeAttester(QUOTES, "runtime")) as member, person:
        channels = [member.connect(peer_address, "keymanager") for _ in range(CHANNELS)]
        yield Callers(channels, person)


async def spend(
    count: int, call: Callable[[int], Awaitable[object]], *, in_flight: int = IN_FLIGHT
) -> float:
    """Return how long so many calls take, so many of them at once."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return time.perf_counter() - start


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU time of a process in seconds."""
    times = process.cpu_times()
    return times.user + times.system


def report(figure: str, value: float, unit: str, **others: float) -> None:
    """Print one line; the load tells how busy the machine was with other work."""
    line = {"figure": figure, "value": round(value, 1), "unit": unit}
    line |= {name: round(number, 2) for name, number in others.items()}
    line |= {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(line), flush=True)


async def measure(folder: Path, server: psutil.Process, *, calls: int, rounds: int) -> None:
    """Measure everything."""
    async with connected(folder) as callers:
        operator: Any = keymanager_pb2_grpc.KeymanagerServiceStub(callers.operator)

        def put(number: int, prefix: str = "s") -> Awaitable[object]:
            name = f"secrets/{prefix}{number}"
            kind = pb.KIND_SECP256K1 if prefix == "wallet" else pb.KIND_ED25519
            return operator.PutSecret(
                pb.PutSecretRequest(request_id=name, name=name, kind=kind, generate=True)
            )

        await put(0, "key")
        await put(0, "wallet")
        health = callers.stubs(health_pb2_grpc.HealthStub)
        keys = callers.stubs(keymanager_pb2_grpc.KeymanagerServiceStub)
        request = health_pb2.HealthCheckRequest()
        message = pb.SignRequest(key="secrets/key0", purpose=pb.PURPOSE_REQUEST, message=b"m" * 100)
        personal = pb.SignRequest(
            key="secrets/wallet0", purpose=pb.PURPOSE_REQUEST, personal_message=b"m" * 100
        )
        batch = pb.SignBatchRequest(requests=[message] * BATCH)

        uses: dict[str, tuple[Callable[[int], Awaitable[object]], int]] = {
            "sign_ed25519": (lambda n: keys[n % CHANNELS].Sign(message), 1),
            "sign_secp256k1": (lambda n: keys[n % CHANNELS].Sign(personal), 1),
            "sign_batch_32": (lambda n: keys[n % CHANNELS].SignBatch(batch), BATCH),
        }
        for figure, (call, size) in uses.items():
            await spend(100, call)
            found = []
            for _ in range(rounds):
                before, wanted = cpu_of(server), max(calls // size, 100)
                rate = size * wanted / await spend(wanted, call)
                cpu = 1e6 * (cpu_of(server) - before) / wanted / size
                alone = calls / await spend(calls, lambda n: health[n % CHANNELS].Check(request))
                found.append((rate, cpu, rate / alone))
            middle = [statistics.median(column) for column in zip(*found, strict=True)]
            report(
                figure,
                middle[0],
                "signatures/s",
                server_cpu_us=middle[1],
                per_health_call=middle[2],
            )
        before = cpu_of(server)
        seconds = await spend(SECRETS, put)
        cpu = 1e6 * (cpu_of(server) - before) / SECRETS
        report("put", SECRETS / seconds, "secrets/s", server_cpu_us=cpu)
        await rotate(callers, keys, message)


async def rotate(callers: Callers, keys: list[Any], message: pb.SignRequest) -> None:
    """Replace the root under 10,000 secrets while keys are used; a failed use ends it all."""
    recovery: Any = recovery_pb2_grpc.RecoveryServiceStub(callers.operator)
    start = time.perf_counter()
    rotation = asyncio.ensure_future(
        recovery.RotateRoot(recovery_pb2.RotateRootRequest(request_id="1"), timeout=300)
    )
    used, slowest = 0, 0.0
    while not rotation.done():
        before = time.perf_counter()
        await keys[0].Sign(message)
        slowest = max(slowest, time.perf_counter() - before)
        used += 1
    await rotation
    report(
        "rotate_root_10000",
        time.perf_counter() - start,
        "seconds",
        uses_meanwhile=used,
        slowest_use_ms=1e3 * slowest,
    )


def main() -> None:
    """Serve, or start who serves and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        uvloop.run(serve(arguments.serve))
        return
    with running() as (folder, server):
        size = {"calls": 3_000, "rounds": 1} if arguments.quick else {"calls": 10_000, "rounds": 5}
        uvloop.run(measure(folder, server, **size))


if __name__ == "__main__":
    main()
