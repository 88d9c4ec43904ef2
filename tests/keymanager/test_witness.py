"""Peers remember how far the log was, so older data that were put back are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from actionvm.keymanager.v1 import audit_pb2, audit_pb2_grpc, keymanager_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.channel import open_channel, remote_error
from chassis.config import ServiceConfig
from chassis.server import start_server
from chassis.witness import SEQUENCE, Witness, read_number
from tests.grpc_fixtures import identities_json, token_of

from .authorities import host
from .vaults import Bench

SIGN = pb.SignRequest(key="secrets/a", purpose=pb.PURPOSE_REQUEST, message=b"m")


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Serve a key manager with one key."""
    bench = Bench()
    await bench.put("secrets/a")
    file = tmp_path / "identities.json"
    file.write_text(identities_json())
    config = ServiceConfig(listen="127.0.0.1:0", data_dir=tmp_path, identities_file=file, tls="off")
    server = await start_server(config, host(bench))
    yield server.address
    await server.stop()


async def reason_of(call: Any) -> str:  # noqa: ANN401  # as in grpc
    """Return the reason with which a call is refused; empty if it is answered."""
    try:
        await call
    except aio.AioRpcError as error:
        return remote_error(error).reason
    return ""


async def test_a_witness_remembers_how_far_the_log_was(address: str) -> None:
    witness = Witness()
    async with open_channel(address, token=token_of("runtime"), interceptors=[witness]) as channel:
        stub: Any = keymanager_pb2_grpc.KeymanagerServiceStub(channel)
        await stub.Sign(SIGN)
        before = witness.seen
        await stub.Sign(SIGN)

    assert before > 0
    assert witness.seen == before + 1


async def test_a_witness_of_later_records_stops_all_uses_until_an_operator_accepts(
    address: str,
) -> None:
    witness = Witness()
    witness.seen = 1_000
    async with (
        open_channel(address, token=token_of("runtime"), interceptors=[witness]) as remembering,
        open_channel(address, token=token_of("runtime")) as other,
        open_channel(address, token=token_of("operator")) as operator,
    ):
        first: Any = keymanager_pb2_grpc.KeymanagerServiceStub(remembering)
        second: Any = keymanager_pb2_grpc.KeymanagerServiceStub(other)
        refused = [await reason_of(first.Sign(SIGN)), await reason_of(second.Sign(SIGN))]
        audit: Any = audit_pb2_grpc.AuditServiceStub(operator)
        await audit.AcceptRollback(audit_pb2.AcceptRollbackRequest(sequence=1_000))

        assert refused == ["ROLLED_BACK", "ROLLED_BACK"]
        assert await reason_of(first.Sign(SIGN)) == ""


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "\u0661", "9" * 100_000])
def test_what_is_no_number_of_records_does_no_harm(value: str) -> None:
    assert read_number([(SEQUENCE, value)], SEQUENCE) in {0, 10**19 - 1}


def test_a_number_of_another_key_is_not_read() -> None:
    assert read_number([("other", "7")], SEQUENCE) == 0
