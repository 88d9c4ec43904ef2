"""The process keeps what it acknowledged, and refuses to start where it would lose secrets."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Queue

import grpc
import pytest

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from tests.keymanager.process import KeymanagerProcess
from tests.keymanager.vaults import public_key_of

CALLERS = 8
KILLS = 4


def _put(name: str) -> pb.PutSecretRequest:
    return pb.PutSecretRequest(request_id=name, name=name, kind=pb.KIND_ED25519, generate=True)


def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    public_keys: dict[str, bytes] = {}
    for round_number in range(3):
        with KeymanagerProcess(tmp_path) as process:
            stub = process.stub()
            for name, public_key in public_keys.items():
                found = stub.GetPublicKey(pb.GetPublicKeyRequest(key=name))
                assert found.public_key == public_key, name
            for name in (f"secrets/r{round_number}-{number}" for number in range(5)):
                stub.PutSecret(_put(name))
                found = stub.GetPublicKey(pb.GetPublicKeyRequest(key=name))
                public_keys[name] = found.public_key


def _put_until_killed(
    stub: keymanager_pb2_grpc.KeymanagerServiceStub, caller: str, done: Queue[tuple[str, bytes]]
) -> None:
    for number in itertools.count():
        name = f"secrets/{caller}-{number}"
        seed = hashlib.sha256(name.encode()).digest()
        request = pb.PutSecretRequest(request_id=name, name=name, kind=pb.KIND_ED25519, value=seed)
        try:
            stub.PutSecret(request)
        except grpc.RpcError:
            return
        done.put((name, seed))


def test_kills_under_load_lose_nothing_acknowledged(tmp_path: Path) -> None:
    dice, seeds, done = random.Random(30), dict[str, bytes](), Queue[tuple[str, bytes]]()
    for kill in range(KILLS + 1):
        with KeymanagerProcess(tmp_path) as process, ThreadPoolExecutor(CALLERS) as pool:
            stub = process.stub()
            for name, seed in seeds.items():
                found = stub.GetPublicKey(pb.GetPublicKeyRequest(key=name))
                assert found.public_key == public_key_of(seed), name
            if kill < KILLS:
                for caller in range(CALLERS):
                    pool.submit(_put_until_killed, stub, f"{kill}-{caller}", done)
                seeds |= dict(done.get(timeout=30) for _ in range(dice.randrange(20, 60)))
                os.kill(process.pid, signal.SIGKILL)
        # What was acknowledged until the last moment.
        seeds |= dict(done.get() for _ in range(done.qsize()))
    assert len(seeds) >= 20 * KILLS


def test_a_request_that_is_repeated_after_a_kill_has_no_second_effect(tmp_path: Path) -> None:
    request = pb.RotateSecretRequest(request_id="rotate", name="secrets/a", generate=True)
    with KeymanagerProcess(tmp_path) as process:
        process.stub().PutSecret(_put("secrets/a"))
        first = process.stub().RotateSecret(request)
    with KeymanagerProcess(tmp_path) as process:
        assert process.stub().RotateSecret(request) == first


def test_the_keys_of_the_services_survive_a_kill(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        with KeymanagerProcess(tmp_path) as process:
            request = pb.GetPublicKeyRequest(key="keys/bundles")
            found.append(process.stub("runtime").GetPublicKey(request).public_key)
    assert found[0] == found[1]


def test_it_leaves_no_core_file(tmp_path: Path) -> None:
    with KeymanagerProcess(tmp_path) as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    (line,) = [one for one in limits.splitlines() if one.startswith("Max core file size")]
    assert line.split()[4:6] in (["0", "0"], ["1", "1"])


@pytest.fixture
def used(tmp_path: Path) -> KeymanagerProcess:
    """Return a stopped key manager that has its keys."""
    process = KeymanagerProcess(tmp_path)
    with process:
        pass
    return process


def test_only_its_owner_may_enter_the_folder(used: KeymanagerProcess) -> None:
    assert used.data.stat().st_mode & 0o777 == 0o700


def test_a_lost_database_stops_the_start_with_a_way_out(used: KeymanagerProcess) -> None:
    for file in used.data.iterdir():
        file.unlink()

    ended = used.refuse_to_start()

    assert (ended.returncode, "KEYMANAGER_ACCEPT_ROLLBACK" in ended.stderr) == (1, True)


def test_the_database_of_another_platform_stops_the_start(used: KeymanagerProcess) -> None:
    shutil.rmtree(used.data.parent / "platform")

    ended = used.refuse_to_start()

    assert (ended.returncode, "platform does not open" in ended.stderr) == (1, True)


def _tamper(used: KeymanagerProcess, statement: str) -> None:
    with closing(sqlite3.connect(used.data / "keymanager.db", isolation_level=None)) as connection:
        connection.execute(statement)


def _overwrite(used: KeymanagerProcess, name: str) -> None:
    (used.data / f"{name}-wal").unlink(missing_ok=True)
    (used.data / name).write_bytes(b"nothing that SQLite reads" * 100)


@pytest.mark.parametrize(
    ("damage", "way_out"),
    [
        (lambda used: _tamper(used, "UPDATE anchor SET tree = x'00'"), "docs/recovery.md"),
        (lambda used: _overwrite(used, "keymanager.db"), "docs/recovery.md"),
        (
            lambda used: _tamper(used, "UPDATE secret SET state = 2 WHERE name = 'keys/ca'"),
            "docs/recovery.md",
        ),
    ],
    ids=["anchor", "keymanager.db", "authority"],
)
def test_damage_stops_the_start_with_one_line(
    used: KeymanagerProcess, damage: Callable[[KeymanagerProcess], None], way_out: str
) -> None:
    damage(used)
    ended = used.refuse_to_start()
    (line,) = [one for one in ended.stderr.splitlines() if not one.startswith("{")]
    assert (ended.returncode, way_out in line) == (1, True)


def test_a_refused_start_prints_no_traceback(used: KeymanagerProcess) -> None:
    for file in used.data.iterdir():
        file.unlink()
    assert "Traceback" not in used.refuse_to_start().stderr
