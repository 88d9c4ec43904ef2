"""A linker that is killed while it fetches a model loses nothing that has arrived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from actionvm.linker.v1 import linker_pb2 as pb
from actionvm.linker.v1 import linker_pb2_grpc
from tests.fakes.hub import FakeHub, Fault, serve_hub
from tests.grpc_fixtures import _TokenInterceptor, identities_json, token_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
MEGABYTE = 1024 * 1024

REPOSITORY, FILE = "owner/babbler-GGUF", "babbler-F16.gguf"
PULL = pb.PullModelRequest(model="local/pulled", repository=REPOSITORY, file=FILE)


@contextmanager
def linker_process(folder: Path, hub: FakeHub) -> Iterator[linker_pb2_grpc.LinkerServiceStub]:
    """Run a linker below a folder; in the end it is killed with -9."""
    (folder / "models").mkdir(exist_ok=True)
    (folder / "identities.json").write_text(identities_json())
    (folder / "token").write_text("secret\n")
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        "LINKER_LISTEN": "127.0.0.1:0",
        "LINKER_DATA_DIR": str(folder / "data"),
        "LINKER_IDENTITIES_FILE": str(folder / "identities.json"),
        "LINKER_TOKEN_FILE": str(folder / "token"),
        "LINKER_TLS": "off",
        "LINKER_GAS_ADDRESS": "127.0.0.1:9",
        "LINKER_KEYMANAGER_ADDRESS": "127.0.0.1:9",
        "LINKER_MODELS_DIR": str(folder / "models"),
    }
    command = [sys.executable, "-m", "linker"]
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as it,
    ):
        try:
            with grpc.insecure_channel(_address(it, log)) as channel:
                caller = grpc.intercept_channel(channel, _TokenInterceptor(token_of("operator")))
                yield linker_pb2_grpc.LinkerServiceStub(caller)
        finally:
            it.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "service.started" in line and line.endswith("}"):
                return str(json.loads(line)["address"])
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


@pytest.fixture
def hub(models_dir: Path) -> Iterator[FakeHub]:
    """Serve the babbler, to those who have a token and the licence."""
    content = (models_dir / "babbler.gguf").read_bytes()
    with serve_hub(FakeHub({(REPOSITORY, FILE): content}, gated={REPOSITORY})) as served:
        yield served


def test_a_pull_goes_on_where_a_killed_linker_stopped(hub: FakeHub, tmp_path: Path) -> None:
    content = hub.files[REPOSITORY, FILE]
    hub.cdn_faults.append(Fault(stall_after=2 * MEGABYTE + 1))
    with linker_process(tmp_path, hub) as stub:
        received = 0
        for step in stub.PullModel(PULL, timeout=60):
            received = step.received_bytes
            if received >= 2 * MEGABYTE:
                break
    assert not (tmp_path / "models" / "pulled.gguf").exists()

    with linker_process(tmp_path, hub) as stub:
        steps = list(stub.PullModel(PULL, timeout=60))
        (model,) = stub.ListModels(pb.ListModelsRequest()).models

    # The package writes a chunk after it has told of it.
    assert hub.ranges() in (["", f"bytes={MEGABYTE}-"], ["", f"bytes={2 * MEGABYTE}-"])
    assert steps[-1].received_bytes == steps[-1].total_bytes == len(content)
    assert (model.name, model.problem) == ("local/pulled", "")
    assert (tmp_path / "models" / "pulled.gguf").read_bytes() == content
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["pulled.gguf"]


def test_a_pull_asks_for_the_file_and_for_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    with linker_process(tmp_path, hub) as stub:
        list(stub.PullModel(PULL, timeout=60))

    assert {asked.path.partition("/resolve/")[0] for asked in hub.asked} == {f"/{REPOSITORY}"}
    assert "agent/" not in hub.asked[0].headers["user-agent"]


def test_a_pull_that_nobody_waits_for_ends_and_is_continued(hub: FakeHub, tmp_path: Path) -> None:
    content = hub.files[REPOSITORY, FILE]
    hub.cdn_faults.append(Fault(stall_after=2 * MEGABYTE + 1))
    with linker_process(tmp_path, hub) as stub:
        call = stub.PullModel(PULL, timeout=60)
        for step in call:
            if step.received_bytes >= MEGABYTE:
                call.cancel()
                break
        hub.released.set()
        list(stub.PullModel(PULL, timeout=60))

    assert (tmp_path / "models" / "pulled.gguf").read_bytes() == content
    assert all(asked.headers.get("range") for asked in hub.cdn_asked[1:])


def test_the_log_holds_neither_the_token_nor_signed_addresses(hub: FakeHub, tmp_path: Path) -> None:
    hub.cdn_faults += [Fault(break_after=MEGABYTE), Fault(status=429, headers={"Retry-After": "0"})]
    with linker_process(tmp_path, hub) as stub:
        list(stub.PullModel(PULL, timeout=60))

    log = (tmp_path / "log").read_text()
    assert "PullModel" in log
    assert hub.token not in log
    assert "signature" not in log
