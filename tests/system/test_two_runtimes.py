"""Two real runtimes share a PostgreSQL: one is killed, the other brings its runs to their end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from sqlalchemy import create_engine, text

from actionvm.runtime.v1 import runtime_pb2 as pb
from actionvm.runtime.v1 import runtime_pb2_grpc
from chassis.certificates import server_name
from cli.services import HOST, PEER_OFFSET, ROOT, SERVICE_NAMES, SERVICES, environment
from runtime.conductor import LEASE_SECONDS

from ..gas.postgres import PostgresMissing, running_postgres
from .conftest import System, pause, running_system

pytestmark = pytest.mark.system

RUNTIME = next(service for service in SERVICES if service.name == "runtime")
# Of each runtime.
RUNS = 8
# The board takes so long, so that somebody always waits for it.
BOARD_SECONDS = 0.2
# Two seconds until it is noticed that a lease is over, and for the rest of the runs.
TAKING_OVER_SECONDS_MAX = LEASE_SECONDS + 15.0
AGENT = """
apiVersion: actionvm/v1
kind: Agent
metadata: {{name: poster, version: 1.0.0, description: Posts three times}}
spec:
  model: {{use: local/actionvm-tiny}}
  instructions: You post.
  actions:
    - use: run.sleep
    - {{use: board.post, credential: board-key, settings: {{url: "{url}"}}}}
  workflow:
    steps:
      - {{id: one, action: board.post, with: {{text: One}}}}
      - {{id: nap, action: run.sleep, with: {{seconds: 1}}, after: [one]}}
      - {{id: two, action: board.post, with: {{text: Two}}, after: [nap]}}
      - {{id: three, action: board.post, with: {{text: Three}}, after: [two]}}
    output: steps.three.output.id
  budget: {{gas: 10000000, per: day}}
  limits: {{timeout: 2m}}
"""


@dataclass
class CountingBoard:
    """A board that drops no duplicates, so that each of them counts."""

    url: str = ""
    arrivals: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, key: str) -> dict[str, str]:
        with self.lock:
            self.arrivals.append(key)
        threading.Event().wait(BOARD_SECONDS)
        return {"id": key}

    def posts(self, key: str) -> list[dict[str, str]]:
        with self.lock:
            return [{"id": key}] if key in self.arrivals else []


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    try:
        with running_postgres(fsync=False) as server:
            yield server.fresh_database()
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def system(database_url: str) -> Iterator[System]:
    """Start a system whose runtime keeps its journal in PostgreSQL."""
    with running_system({"RUNTIME_DATABASE_URL": database_url}) as made:
        yield made


@pytest.fixture
def counting_board() -> Iterator[CountingBoard]:
    board = CountingBoard()

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (key,) = parse_qs(urlsplit(self.path).query)["key"]
            self._answer({"posts": board.posts(key)})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer(board.post(self.headers["Idempotency-Key"]))

        def _answer(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                # Whoever asked was killed.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    with ThreadingHTTPServer((HOST, 0), Desk) as server:
        board.url = f"http://{HOST}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield board
        server.shutdown()
        thread.join()


@contextmanager
def second_runtime(
    system: System, database_url: str, folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start another runtime beside the one of the system; yield it with its address."""
    port = system.port_base + len(SERVICE_NAMES)
    data = folder / "runtime"
    data.mkdir(mode=0o700)
    settings = environment(system.home, RUNTIME, system.port_base) | {
        "RUNTIME_LISTEN": f"{HOST}:{port}",
        "RUNTIME_PEER_LISTEN": f"{HOST}:{port + PEER_OFFSET}",
        "RUNTIME_DATA_DIR": str(data),
        "RUNTIME_DATABASE_URL": database_url,
        # Otherwise the platform does not know it for a runtime.
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, "-m", "runtime"]
    with (
        (folder / "runtime.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log) as process,
    ):
        try:
            yield process, f"{HOST}:{port}"
        finally:
            process.kill()


def stub_of(system: System, address: str) -> runtime_pb2_grpc.RuntimeServiceStub:
    """Return a runtime as the operator calls it."""
    authority, token = system.home.authority(), system.home.operator_token()
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(authority), grpc.access_token_call_credentials(token)
    )
    options = [("grpc.ssl_target_name_override", server_name("runtime"))]
    return runtime_pb2_grpc.RuntimeServiceStub(
        grpc.secure_channel(address, credentials, options=options)
    )


def test_runs_of_a_killed_runtime_are_ended_by_the_other_with_each_effect_once(
    system: System, database_url: str, counting_board: CountingBoard, tmp_path: Path
) -> None:
    done = system.command("secrets", "put", "board-key", "--kind", "ed25519", "--generate")
    assert done.code == 0, done.errors
    manifest = tmp_path / "agent.yaml"
    manifest.write_text(AGENT.format(url=counting_board.url))
    assembled = system.command("assemble", str(manifest), "--json")
    assert assembled.code == 0, assembled.errors
    bundle = assembled.documents[-1]["assembly"]["bundle"]["name"]

    lasting = stub_of(system, system.state.services["runtime"].address)
    with second_runtime(system, database_url, tmp_path) as (process, address):
        dying = stub_of(system, address)
        runs = [
            stub.StartRun(
                pb.StartRunRequest(request_id=f"{name}-{number}", bundle_name=bundle),
                wait_for_ready=True,
                timeout=60,
            ).run.name
            for number in range(RUNS)
            for name, stub in (("dying", dying), ("lasting", lasting))
        ]
        # Some sleep, some wait for the board, some have not begun.
        while len(counting_board.arrivals) < RUNS:
            assert process.poll() is None, (tmp_path / "runtime.log").read_text()
            pause()
        process.kill()
        killed = time.monotonic()

    ended: dict[str, pb.Run] = {}
    while len(ended) < len(runs):
        assert time.monotonic() < killed + TAKING_OVER_SECONDS_MAX, sorted({*runs} - ended.keys())
        for name in {*runs} - ended.keys():
            run = lasting.GetRun(pb.GetRunRequest(name=name)).run
            if run.HasField("end_time"):
                ended[name] = run
        pause()
    assert {run.state for run in ended.values()} == {pb.Run.STATE_SUCCEEDED}
    wanted = {f"{run}/call/{step}-1" for run in runs for step in ("one", "two", "three")}
    assert Counter(counting_board.arrivals) == Counter(wanted)
    assert {*runs[::2]} & taken_over(database_url), "the one that was killed was playing runs"


def taken_over(database_url: str) -> set[str]:
    """Return the runs that have had more than one owner."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT name FROM run WHERE epoch > 1")).scalars().all()
    engine.dispose()
    return {*found}
