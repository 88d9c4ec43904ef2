"""A whole system whose certificates live for three seconds, and who is let in meanwhile."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from actionvm.gas.v1.gas_pb2 import ListUsageRequest
from actionvm.gas.v1.gas_pb2_grpc import GasServiceStub
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from cli.client import connect_system
from cli.home import Home
from cli.services import SERVICE_NAMES
from tests.contracts.contract import error_info

from .conftest import System, free_port_base

pytestmark = pytest.mark.system

LIFE_SECONDS = 3
NOTICED_SECONDS = 1.0
AGENT = """
apiVersion: actionvm/v1
kind: Agent
metadata: {name: tester, version: 1.0.0, description: Tests.}
spec:
  model: {use: local/babbler}
  instructions: Say something.
  budget: {gas: 50000, per: day}
  limits: {steps: 2}
"""


@pytest.fixture(scope="module")
def hasty() -> Iterator[System]:
    """Start a system whose certificates are renewed every two seconds."""
    folder = Path(tempfile.mkdtemp(prefix="actionvm-"))
    made = System(Home(folder), free_port_base())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYMANAGER_CERTIFICATE_SECONDS", str(LIFE_SECONDS))
        started = made.up()
    try:
        assert started.code == 0, started.errors
        yield made
    finally:
        made.command("down")
        shutil.rmtree(folder)


def logged(system: System, service: str) -> list[dict[str, str]]:
    """Return what a service has logged."""
    # Of the last line, half may be there.
    whole, _, _ = system.home.log_file(service).read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def test_agents_run_while_every_certificate_is_renewed(hasty: System, tmp_path: Path) -> None:
    agent = tmp_path / "agent.yaml"
    agent.write_text(AGENT)
    end = time.monotonic() + 3 * LIFE_SECONDS
    while time.monotonic() < end:
        done = hasty.command("run", str(agent), "--input", "hello", "--json")
        assert done.code == 0, done.output + done.errors

    for service in SERVICE_NAMES:
        lines = logged(hasty, service)
        assert len([one for one in lines if one["event"] == "identity.issued"]) >= 3, service
        assert not [one for one in lines if one.get("reason", "").startswith("CERTIFICATE_")]
        assert not [one for one in lines if one["event"] == "rpc.failed"]


def test_a_revoked_service_gets_no_certificate_until_it_is_let_in_again(hasty: System) -> None:
    identity = "spiffe://actionvm/service/assembler"

    def refusals() -> int:
        return [one.get("reason") for one in logged(hasty, "keymanager")].count("IDENTITY_REVOKED")

    def issued() -> int:
        return [one["event"] for one in logged(hasty, "assembler")].count("identity.issued")

    call(hasty, lambda it: it.RevokeIdentity(pb.RevokeIdentityRequest(identity=identity)))
    seconds_until(lambda: refusals() > 0)
    before = issued()
    call(hasty, lambda it: it.ReinstateIdentity(pb.ReinstateIdentityRequest(identity=identity)))
    seconds_until(lambda: issued() > before)


def call(system: System, make: Callable[[Any], Awaitable[Message]]) -> None:
    """Call the key manager as the operator."""

    async def connected() -> None:
        async with connect_system(system.home) as client:
            await client.keymanager(make)

    asyncio.run(connected())


def test_a_token_is_worth_nothing_within_a_second_of_its_removal(hasty: System) -> None:
    added = hasty.command("tokens", "add", "alice", "--role", "auditor", "--json").document
    credentials = grpc.ssl_channel_credentials(hasty.home.ca_file.read_bytes())
    metadata = (("authorization", f"Bearer {added['token']}"),)
    options = [("grpc.ssl_target_name_override", "gas.actionvm")]
    with grpc.secure_channel(hasty.state.addresses["gas"], credentials, options) as channel:
        stub = GasServiceStub(channel)

        def is_refused() -> bool:
            try:
                stub.ListUsage(ListUsageRequest(), metadata=metadata)
            except grpc.RpcError as error:
                assert error_info(error).reason == "TOKEN_INVALID"
                return True
            return False

        assert seconds_until(lambda: not is_refused()) <= NOTICED_SECONDS
        hasty.home.identities.remove("alice")
        assert seconds_until(is_refused) <= NOTICED_SECONDS


def seconds_until(holds: Callable[[], bool]) -> float:
    """Look again and again; return how long it took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < 10
    return time.monotonic() - start


def test_no_private_key_is_in_any_file_of_the_home(hasty: System) -> None:
    marks = (
        b"PRIVATE KEY",
        # How every P-256 key in PKCS 8 begins, also in Base64.
        bytes.fromhex("308187020100301306072a8648ce3d0201"),
        b"MIGHAgEAMBMGByqGSM49",
    )
    files = [path for path in hasty.home.folder.rglob("*") if path.is_file()]

    assert len(files) > 10
    assert not [path for path in files if any(mark in path.read_bytes() for mark in marks)]
