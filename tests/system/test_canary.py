"""The value of a secret appears nowhere outside of the key manager, in no encoding.

Ten thousand calls of every kind, right and wrong, by all who may call, on a whole system.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2
from grpc import aio
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from actionvm.keymanager.v1 import (
    audit_pb2_grpc,
    keymanager_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    recovery_pb2_grpc,
    use_pb2_grpc,
)
from chassis.channel import find_detail
from chassis.config import ServiceConfig
from chassis.tls import connect_with_token
from cli.home import Home
from cli.services import SERVICE_NAMES, peer_addresses
from enrolment.join import join
from platformd import protocol
from platformd.release import owner_signer
from platformd.root import Root

from .canaries import (
    CANARY,
    Collector,
    canaries_in,
    canaries_in_files,
    canaries_in_memory,
    canaries_in_starts,
    collecting,
    encodings,
)
from .conftest import EXAMPLE, Board, System, free_port_base, pause
from .mixed_calls import Call, Calls

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CALLS = 10_000
IN_FLIGHT = 32
ROLES = ("assembler", "knowledge", "linker", "runtime")
STUBS = (
    keymanager_pb2_grpc.KeymanagerServiceStub,
    use_pb2_grpc.UseServiceStub,
    policy_pb2_grpc.PolicyServiceStub,
    audit_pb2_grpc.AuditServiceStub,
    recovery_pb2_grpc.RecoveryServiceStub,
)


@dataclass(frozen=True)
class RootAttester:
    """Quotes as platformd would if this process were a service: it has read its root."""

    folder: Path
    role: str

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote of a process of the role."""
        root = Root((self.folder / "root.key").read_bytes())
        quote: dict[str, protocol.Value] = {
            "code": bytes(32).hex(),
            "debug": True,
            "format": protocol.QUOTE_FORMAT,
            "hardware": False,
            "key": root.attestation_key.public_key().public_bytes_raw().hex(),
            "platform": "soft",
            "report_data": report_data.hex(),
            "role": self.role,
            "security_version": 0,
            "signer": owner_signer(os.getuid()).hex(),
        }
        signature = root.attestation_key.sign(protocol.quoted(quote))
        return protocol.encode({**quote, "signature": signature.hex()})


async def call_all(system: System, calls: Calls) -> list[str]:
    """Make all calls, many at a time; return the methods whose answers had the canary."""
    told = list[str]()
    async with AsyncExitStack() as stack:
        methods = await _methods(system, stack)

        async def make(call: Call) -> None:
            answer: Any = None
            reason = "OK"
            try:
                answer = await methods[call.caller][call.method](call.request)
                seen = answer.SerializeToString()
            except aio.AioRpcError as error:
                reason = _reason(error)
                seen = repr((error.details(), error.trailing_metadata())).encode()
            calls.note(call, answer, reason)
            # A password is what goes into the header, and what is wrong with a text is quoted.
            is_basic = call.method == "AuthorizeRequest" and "login" in str(call.request)
            if canaries_in(seen) and not (is_basic or call.method == "PutPolicy"):
                told.append(f"{call.method}: {reason}")

        for call in calls.first():
            await make(call)

        async def work(count: int) -> None:
            for _ in range(count):
                await make(calls.next())

        await asyncio.gather(*(work(CALLS // IN_FLIGHT + 1) for _ in range(IN_FLIGHT)))
        # Nobody else calls this: where its trace has arrived, those before have.
        await methods["operator"]["GetPolicy"](policy_pb2.GetPolicyRequest())
    return told


async def _methods(system: System, stack: AsyncExitStack) -> Mapping[str, Mapping[str, Any]]:
    """Return caller -> method -> what calls it; services have certificates, the others tokens."""
    home, address = system.home, system.state.addresses["keymanager"]
    peer_address = peer_addresses(system.port_base)["keymanager"]
    channels: dict[str, Any] = {
        caller: await stack.enter_async_context(
            connect_with_token(address, "keymanager", token=token, authority=home.authority())
        )
        for caller, token in (("operator", home.operator_token()), ("nobody", CANARY.decode()))
    }
    for role in ROLES:
        config = ServiceConfig(
            listen="127.0.0.1:0",
            peer_listen="127.0.0.1:0",
            data_dir=home.folder,
            identities_file=home.identities_file,
            ca_file=home.ca_file,
            issuer_address=address,
            issuer_peer_address=peer_address,
            platform_socket=home.platform_socket,
        )
        attester = RootAttester(home.data_dir("platformd"), role)
        member = await stack.enter_async_context(join(config, attester))
        channels[role] = await stack.enter_async_context(member.connect(peer_address, "keymanager"))
    return {
        caller: {name: method for stub in STUBS for name, method in vars(stub(channel)).items()}
        for caller, channel in channels.items()
    }


def _reason(error: aio.AioRpcError) -> str:
    found: Any = find_detail(error, error_details_pb2.ErrorInfo)
    return str(found.reason) if found else error.code().name


# --- What is seen -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outside:
    """What was searched, and by the place what was found."""

    outcomes: Counter[tuple[str, str]]
    traces: bytes
    log: str
    found: Mapping[str, object]
    in_key_manager: list[str]
    hidden: set[str]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Run a collector of traces."""
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def system(collector: Collector) -> Iterator[System]:
    """Start a system that tells the collector of every call."""
    with tempfile.TemporaryDirectory(prefix="actionvm-") as folder:
        made = System(Home(Path(folder)), free_port_base())
        with pytest.MonkeyPatch.context() as patch:
            for name in SERVICE_NAMES:
                patch.setenv(f"{name.upper()}_OTLP_ENDPOINT", collector.address)
            try:
                started = made.up()
                assert started.code == 0, started.errors
                patch.undo()
                yield made
            finally:
                made.command("down")


@pytest.fixture(scope="module")
def outside(
    system: System, board: Board, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Outside:
    """Make all calls, and search everything that can be seen while the system runs."""
    value = tmp_path_factory.mktemp("value") / "value"
    value.write_bytes(CANARY)
    rotated = system.command("secrets", "rotate", "board-key", "--value-file", str(value))
    assert rotated.code == 0, rotated.errors
    agent = (str(EXAMPLE / "agent.yaml"), "--set", f"board_url={board.url}")
    ran = system.command("run", *agent, "--json")
    assert ran.code == 0, ran.output + ran.errors
    calls = Calls(seed=5)
    told = asyncio.run(call_all(system, calls))
    pids = {name: child.pid for name, child in system.state.services.items()}
    pids |= {"platformd": system.state.platform.pid, "supervisor": system.state.pid}
    in_memory, hidden = dict[str, list[str]](), set[str]()
    for name, pid in pids.items():
        try:
            in_memory[name] = canaries_in_memory(pid)
        except PermissionError:
            hidden.add(name)
    in_key_manager = in_memory.pop("keymanager", [])
    while b"GetPolicy" not in (traces := b"".join(collector.received)):
        pause()
    seen: dict[str, object] = {
        "answers": told,
        "files": canaries_in_files(system.home.folder),
        "traces": canaries_in(traces),
        "starts": canaries_in_starts(pids.values()),
        "memory": {name: found for name, found in in_memory.items() if found},
    }
    log = system.home.log_file("keymanager").read_text()
    return Outside(calls.outcomes, traces, log, seen, in_key_manager, hidden)


@pytest.mark.parametrize("place", ["answers", "files", "traces", "starts"])
def test_the_value_is_not_seen(outside: Outside, place: str) -> None:
    assert not outside.found[place]


def test_the_value_is_not_in_the_memory_of_another_process(outside: Outside) -> None:
    """The key manager has it, else the search of the others proves nothing."""
    if outside.hidden - {"platformd"}:
        pytest.skip("this user may not read the memory of processes")
    assert "raw" in outside.in_key_manager
    assert not outside.found["memory"]


def test_the_calls_were_of_every_kind(outside: Outside) -> None:
    assert outside.outcomes.total() >= CALLS
    succeeded = {method for method, reason in outside.outcomes if reason == "OK"}
    reasons = {reason for _, reason in outside.outcomes}
    assert succeeded == {
        *("AuthorizeRequest", "Backup", "Decrypt", "DisableSecret", "EnableSecret", "Encrypt"),
        *("GenerateDataKey", "GetPublicKey", "GetQuote", "GetSecret", "ListAuditRecords"),
        *("ListSecrets", "PutPolicy", "PutSecret", "ReleaseSecret", "RenewLease", "RevokeLease"),
        *("Rewrap", "RotateRoot", "RotateSecret", "ShredSecret", "Sign", "SignBatch"),
    }
    assert {"INVALID_FIELD", "METHOD_DENIED", "TOKEN_INVALID", "USE_DENIED"} <= reasons
    assert "INTERNAL" not in reasons
    assert sum(n for (_, reason), n in outside.outcomes.items() if reason == "OK") > CALLS // 2


def test_what_was_searched_is_not_empty(outside: Outside) -> None:
    for method in (b"PutSecret", b"AuthorizeRequest", b"RotateRoot", b"Generate"):
        assert method in outside.traces
    assert outside.traces.count(b"keymanager.v1.") > CALLS // 2
    assert outside.log.count("PutSecret") > 100


@pytest.mark.parametrize("encoding", encodings(CANARY))
def test_the_search_finds_every_encoding(tmp_path: Path, encoding: str) -> None:
    planted = encodings(CANARY)[encoding]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"before" + planted + b"after")
    assert list(canaries_in_files(tmp_path).values()) == [canaries_in(planted)]
    assert encoding.replace("base64url", "base64") in canaries_in(planted)


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_it_inside_of_base64(shift: int) -> None:
    assert canaries_in(base64.b64encode(b"x" * shift + CANARY + b"tail"))


def test_the_search_finds_it_in_a_process() -> None:
    text = CANARY.decode()
    program = "import sys; held = bytearray(sys.argv[1].encode()).hex(); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, text],
        env={"LATER": text},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = [f"/proc/{process.pid}/{name}" for name in ("cmdline", "environ")]
        assert list(canaries_in_starts([process.pid])) == started
        assert {"raw", "hex"} <= set(canaries_in_memory(process.pid))
        process.communicate(b"\n")


def test_the_search_finds_it_in_traces() -> None:
    with collecting() as collector:
        exporter = OTLPSpanExporter(endpoint=collector.address, insecure=True)
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("test").start_span(CANARY.decode()).end()
        provider.shutdown()
        assert canaries_in(b"".join(collector.received)) == ["raw"]
