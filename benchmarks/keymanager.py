"""How fast keys are used: `python benchmarks/keymanager.py [--quick]`.

Prints one line of JSON per figure. The key manager is a process of its own on the real emulated
platform, which here believes quotes of whoever measures. Uses come from the runtime under mTLS, new
secrets from a person with a token. All are decided by the policy and on disk with their records
before they are answered. The peer is the health check of the same server over the same connections,
which is what gRPC and TLS cost alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc, recovery_pb2, recovery_pb2_grpc
from benchmarks.lines import write_line
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
    """Channels of the runtime, and of the operator, each a connection of its own."""

    channels: list[Any]
    people: list[Any]

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
    async with join(config, FakeAttester(QUOTES, "runtime")) as member, AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(
                connect_with_token(
                    address,
                    "keymanager",
                    token=token_of(OPERATOR),
                    authority=authority,
                )
            )
            for _ in range(CHANNELS)
        ]
        channels = [member.connect(peer_address, "keymanager") for _ in range(CHANNELS)]
        yield Callers(channels, people)


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


@dataclass(frozen=True)
class Figure:
    """What is measured: calls that each do `size` things, and what is wanted of them."""

    name: str
    unit: str
    call: Callable[[int], Awaitable[object]]
    size: int = 1
    goal: str = ""


class Bench:
    """The key manager under measurement; `health` is its peer, on the same connections."""

    def __init__(
        self, callers: Callers, server: psutil.Process, *, calls: int, rounds: int
    ) -> None:
        self._server = server
        self._calls = calls
        self._rounds = rounds
        self._operators = [keymanager_pb2_grpc.KeymanagerServiceStub(one) for one in callers.people]
        self._recovery: Any = recovery_pb2_grpc.RecoveryServiceStub(callers.people[0])
        self._health = callers.stubs(health_pb2_grpc.HealthStub)
        self._keys = callers.stubs(keymanager_pb2_grpc.KeymanagerServiceStub)
        self._fresh = iter(range(10**9))

    async def measure(self) -> None:
        """Measure everything."""
        for kind, name in (
            (pb.KIND_ED25519, "ed25519"),
            (pb.KIND_SECP256K1, "wallet"),
            (pb.KIND_P256, "p256"),
        ):
            await self._put(name, kind)
        message = _signing("ed25519", message=b"m" * 100)
        personal = _signing("wallet", personal_message=b"m" * 100)
        batch = pb.SignBatchRequest(requests=[message] * BATCH)
        goal = ">= 2500 and <= 350 us"
        for figure in (
            Figure("sign_ed25519", "signatures/s", self._signer(message), goal=goal),
            Figure("sign_secp256k1", "signatures/s", self._signer(personal), goal=goal),
            Figure("sign_p256", "signatures/s", self._signer(_signing("p256", message=b"m" * 100))),
            Figure(
                "sign_batch_32",
                "signatures/s",
                lambda n: self._keys[n % CHANNELS].SignBatch(batch),
                BATCH,
                ">= 10000",
            ),
        ):
            await self._compare(figure)
        await self._rotate(message)
        await self._compare(Figure("put", "secrets/s", lambda _: self._put_next(), goal=">= 2000"))

    def _signer(self, request: pb.SignRequest) -> Callable[[int], Awaitable[object]]:
        return lambda n: self._keys[n % CHANNELS].Sign(request)

    def _put(self, name: str, kind: int = pb.KIND_ED25519, *, on: int = 0) -> Awaitable[object]:
        asked = pb.PutSecretRequest(
            request_id=name, name=f"secrets/{name}", kind=kind, generate=True
        )
        return self._operators[on].PutSecret(asked)

    def _put_next(self) -> Awaitable[object]:
        number = next(self._fresh)
        return self._put(f"s{number}", on=number % CHANNELS)

    async def _compare(self, figure: Figure) -> None:
        """Print a rate and what a call costs the server, beside those of the peer."""
        request = health_pb2.HealthCheckRequest()
        await spend(100, figure.call)
        found = []
        for _ in range(self._rounds):
            wanted = max(self._calls // figure.size, 100)
            seconds, cpu = await self._spend(wanted, figure.call)
            alone, cpu_alone = await self._spend(
                self._calls, lambda n: self._health[n % CHANNELS].Check(request)
            )
            done = wanted * figure.size
            found.append(
                (
                    done / seconds,
                    1e6 * cpu / done,
                    1e6 * cpu_alone / self._calls,
                    done / seconds * alone / self._calls,
                )
            )
        rate, cost, cost_alone, ratio = (statistics.median(one) for one in zip(*found, strict=True))
        write_line(
            figure=figure.name,
            value=rate,
            unit=figure.unit,
            goal=figure.goal,
            server_cpu_us=cost,
            peer="health check",
            peer_server_cpu_us=cost_alone,
            ratio=ratio,
        )

    async def _spend(
        self, count: int, call: Callable[[int], Awaitable[object]]
    ) -> tuple[float, float]:
        before = cpu_of(self._server)
        seconds = await spend(count, call)
        return seconds, cpu_of(self._server) - before

    async def _rotate(self, message: pb.SignRequest) -> None:
        """Replace the root under 10,000 secrets while all are used; a failed use ends it all."""
        await spend(SECRETS, lambda _: self._put_next())
        dice = random.Random(1)  # noqa: S311  # which key is used next
        before, start = cpu_of(self._server), time.perf_counter()
        asked = recovery_pb2.RotateRootRequest(request_id="1")
        rotation = asyncio.ensure_future(self._recovery.RotateRoot(asked, timeout=300))
        waits: list[float] = []

        async def use() -> None:
            while not rotation.done():
                request = pb.SignRequest()
                request.CopyFrom(message)
                request.key = f"secrets/s{dice.randrange(SECRETS)}"
                asked_at = time.perf_counter()
                await self._keys[len(waits) % CHANNELS].Sign(request)
                waits.append(time.perf_counter() - asked_at)

        await asyncio.gather(rotation, *(use() for _ in range(IN_FLIGHT)))
        write_line(
            figure="rotate_root_10000",
            value=time.perf_counter() - start,
            unit="seconds",
            goal="no failed use",
            server_cpu_us_per_secret=1e6 * (cpu_of(self._server) - before) / SECRETS,
            uses_meanwhile=len(waits),
            p99_use_ms=1e3 * statistics.quantiles(waits, n=100)[98],
        )
        for number in range(0, SECRETS, SECRETS // 100):
            await self._keys[0].Sign(_signing(f"s{number}", message=b"m"))


def _signing(name: str, **payload: bytes) -> pb.SignRequest:
    key, purpose = f"secrets/{name}", pb.PURPOSE_REQUEST
    return pb.SignRequest(key=key, purpose=purpose, **payload)  # type: ignore[arg-type]  # by kind


async def measure(folder: Path, server: psutil.Process, *, calls: int, rounds: int) -> None:
    """Connect, and measure."""
    async with connected(folder) as callers:
        await Bench(callers, server, calls=calls, rounds=rounds).measure()


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
