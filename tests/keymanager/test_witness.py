"""Peers remember how far the log was, so older data that were put back are refused."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from actionvm.keymanager.v1 import audit_pb2, audit_pb2_grpc, keymanager_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.channel import open_channel, remote_error
from chassis.config import ServiceConfig
from chassis.server import start_server
from chassis.witness import MARK, Witness, read_mark, remembering
from tests.fakes.platform import FakePlatform
from tests.grpc_fixtures import identities_json, token_of

from .authorities import host
from .process import KeymanagerProcess
from .vaults import Bench

SIGN = pb.SignRequest(key="secrets/a", purpose=pb.PURPOSE_REQUEST, message=b"m")


async def serve(bench: Bench, folder: Path) -> AsyncIterator[str]:
    """Serve a key manager."""
    file = folder / "identities.json"
    file.write_text(identities_json())
    config = ServiceConfig(listen="127.0.0.1:0", data_dir=folder, identities_file=file, tls="off")
    server = await start_server(config, host(bench))
    yield server.address
    await server.stop()


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Serve a key manager with one key."""
    bench = Bench()
    await bench.put("secrets/a")
    async for one in serve(bench, tmp_path):
        yield one


@pytest.fixture
async def restored(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Serve a key manager that was put back; also return the mark of what it has lost."""
    path = tmp_path / "keymanager.db"
    before = Bench(path)
    await before.put("secrets/a")
    before.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content, counter = path.read_bytes(), before.platform.read_counter()
    for name in "bcdef":
        await before.put(f"secrets/{name}")
    before.engine.dispose()
    path.write_bytes(content)
    platform = FakePlatform()
    while platform.read_counter() < counter:
        platform.increment_counter()
    async for one in serve(Bench(path, platform=platform), tmp_path):
        yield one, before.vault.mark


def stub_on(channel: aio.Channel) -> Any:  # noqa: ANN401  # its types are those of the sync API
    return keymanager_pb2_grpc.KeymanagerServiceStub(channel)


async def reason_of(call: Any) -> str:  # noqa: ANN401  # as in grpc
    """Return the reason with which a call is refused; empty if it is answered."""
    try:
        await call
    except aio.AioRpcError as error:
        return remote_error(error).reason
    return ""


def sequence_of(mark: str) -> int:
    return int(mark.split(":")[1])


async def test_a_witness_remembers_how_far_the_log_was(address: str) -> None:
    witness = Witness()
    token = token_of("runtime")
    async with open_channel(address, token=token, interceptors=witness.interceptors) as channel:
        await stub_on(channel).Sign(SIGN)
        before = sequence_of(witness.mark)
        await stub_on(channel).Sign(SIGN)

    assert before > 0
    assert sequence_of(witness.mark) == before + 1


async def test_a_witness_of_later_records_stops_all_uses_until_an_operator_accepts(
    restored: tuple[str, str],
) -> None:
    address, mark = restored
    witness = Witness()
    witness.hear(mark)
    known = witness.interceptors
    async with (
        open_channel(address, token=token_of("runtime"), interceptors=known) as remembering_,
        open_channel(address, token=token_of("runtime")) as other,
        open_channel(address, token=token_of("operator"), interceptors=known) as operator,
    ):
        assert await reason_of(stub_on(other).Sign(SIGN)) == ""
        first, second = stub_on(remembering_), stub_on(other)
        refused = [await reason_of(first.Sign(SIGN)), await reason_of(second.Sign(SIGN))]
        audit: Any = audit_pb2_grpc.AuditServiceStub(operator)
        accepting = audit_pb2.AcceptRollbackRequest(sequence=sequence_of(mark))
        await audit.AcceptRollback(accepting)

        assert refused == ["ROLLED_BACK", "ROLLED_BACK"]
        assert await reason_of(first.Sign(SIGN)) == ""


async def test_a_stream_is_told_and_tells_too(restored: tuple[str, str]) -> None:
    address, mark = restored
    witness = Witness()
    witness.hear(mark)
    token = token_of("operator")
    async with open_channel(address, token=token, interceptors=witness.interceptors) as channel:
        audit: Any = audit_pb2_grpc.AuditServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            async for _ in audit.ExportAuditLog(audit_pb2.ExportAuditLogRequest()):
                continue

    assert remote_error(caught.value).reason == "ROLLED_BACK"


async def ask_process(folder: Path, witness: Witness | None) -> str:
    """Start the key manager of a folder, ask it once, kill it; return what it refused with."""
    heard = witness.interceptors if witness else ()
    with KeymanagerProcess(folder) as process:
        token = token_of("operator")
        async with open_channel(process.address, token=token, interceptors=heard) as channel:
            return await reason_of(stub_on(channel).ListSecrets(pb.ListSecretsRequest()))


async def test_who_restores_the_disk_with_its_counter_is_noticed_by_one_live_peer(
    tmp_path: Path,
) -> None:
    witness, folders = Witness(), ("data", "platform")
    assert await ask_process(tmp_path, witness) == ""
    for name in folders:
        shutil.copytree(tmp_path / name, tmp_path / f"copy of {name}")
    assert await ask_process(tmp_path, witness) == ""
    for name in folders:
        shutil.rmtree(tmp_path / name)
        (tmp_path / f"copy of {name}").rename(tmp_path / name)

    assert await ask_process(tmp_path, None) == ""
    assert await ask_process(tmp_path, witness) == "ROLLED_BACK"


@pytest.mark.parametrize("caller", ["a stranger", "viewer", "runtime"])
@pytest.mark.parametrize("value", ["9223372036854775807", "9" * 19, "a:9:00:00"])
async def test_who_makes_up_a_mark_stops_nobody(address: str, caller: str, value: str) -> None:
    metadata = ((MARK, value), ("actionvm-audit-seen", value))
    async with (
        open_channel(address, token=token_of(caller)) as one,
        open_channel(address, token=token_of("runtime")) as other,
    ):
        await stub_on(one).BeginEnrolment(pb.BeginEnrolmentRequest(), metadata=metadata)
        await reason_of(stub_on(one).Sign(SIGN, metadata=metadata))

        assert await reason_of(stub_on(other).Sign(SIGN)) == ""


def test_what_is_too_long_to_be_a_mark_is_not_read() -> None:
    assert read_mark([(MARK, "9" * 100_000)]) == ""


def test_a_mark_of_another_key_is_not_read() -> None:
    assert read_mark([("other", "a:1:b:c")]) == ""


def test_a_witness_keeps_the_latest_mark_of_a_log_and_takes_that_of_another() -> None:
    witness = Witness()
    heard = []
    for mark in ("a:2:b:c", "a:1:b:c", "a:2:x:c", "", "a", "a:x:b:c", "a:3:b:c", "z:1:b:c"):
        witness.hear(mark)
        heard.append(witness.mark)

    assert heard == [*["a:2:b:c"] * 6, "a:3:b:c", "z:1:b:c"]


async def test_a_witness_with_a_file_outlives_its_process(tmp_path: Path) -> None:
    file = tmp_path / "mark"
    async with remembering(file) as witness:
        witness.hear("a:1:b:c")
        witness.hear("a:2:b:c")

    assert Witness(file).mark == "a:2:b:c"


def _make_folder(file: Path) -> None:
    file.mkdir()


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


WRONG = {
    "a folder": _make_folder,
    "empty": _write(b""),
    "noise": _write(bytes(range(256))),
    "no mark": _write(b"a:b:c:d"),
    "two lines": _write(b"a:1:b:c\n"),
    "huge": _write(b"a:1:b:" + b"c" * 1_000),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
async def test_a_file_that_is_none_of_a_witness_is_as_none(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    file = tmp_path / "mark"
    spoil(file)
    async with remembering(file) as witness:
        assert witness.mark == ""
        # It may be impossible to write, and then it is forgotten.
        witness.hear("a:1:b:c")

    assert Witness(file).mark in {"", "a:1:b:c"}
