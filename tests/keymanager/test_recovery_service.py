"""Recovery over gRPC: between key managers that share nothing, and with registered holders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc, recovery_pb2_grpc
from actionvm.keymanager.v1 import recovery_pb2 as pb
from chassis.channel import open_channel, remote_error
from chassis.config import ServiceConfig
from chassis.holders import Holder, format_holders, open_share, public_key_of
from chassis.server import Hosted, start_server
from keymanager.recovery import open_backup
from keymanager.services import recovery
from keymanager.services.recovery import RecoveryService
from tests.grpc_fixtures import identities_json, token_of
from tests.keymanager.authorities import host
from tests.keymanager.vaults import Bench

STRANGER, OTHER = public_key_of(b"s" * 32), public_key_of(b"o" * 32)


@dataclass(frozen=True)
class Served:
    """Stubs of a key manager, as their callers have them; their types are those of the sync API."""

    recovery: Any
    keys: Any


@asynccontextmanager
async def serving(hosted: Hosted, folder: Path) -> AsyncIterator[Served]:
    """Serve a key manager."""
    (folder / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        tls="off",
    )
    server = await start_server(config, hosted)
    async with (
        open_channel(server.address, token=token_of("operator")) as operator,
        open_channel(server.address, token=token_of("runtime")) as runtime,
    ):
        yield Served(
            recovery_pb2_grpc.RecoveryServiceStub(operator),
            keymanager_pb2_grpc.KeymanagerServiceStub(runtime),
        )
    await server.stop()


async def test_every_backup_is_recorded_with_who_can_open_it(tmp_path: Path) -> None:
    bench = Bench()
    async with serving(host(bench), tmp_path) as served:
        keys = [STRANGER, OTHER]
        await served.recovery.Backup(pb.BackupRequest(threshold=2, recipient_keys=keys))
        await served.recovery.Backup(pb.BackupRequest(threshold=2, share_count=3))

    facts = [one.record.facts for one in bench.vault.records(after=0, limit=100)][-2:]
    holders = ",".join(key.hex()[:16] for key in keys)
    assert [(fact["threshold"], fact["shares"], fact["holders"]) for fact in facts] == [
        (2, 2, holders),
        (2, 3, ""),
    ]


async def test_a_key_signs_the_same_after_a_backup_was_restored_elsewhere(
    tmp_path: Path,
) -> None:
    """All of it over gRPC, between two key managers that share nothing."""
    old, new = Bench(), Bench(seed=2)
    await old.put("secrets/a")
    signing = keymanager_pb2.SignRequest(
        key="secrets/a", purpose=keymanager_pb2.PURPOSE_REQUEST, message=b"m"
    )
    async with serving(host(old), tmp_path) as served:
        made = await served.recovery.Backup(pb.BackupRequest(threshold=2, share_count=3))
        before = await served.keys.Sign(signing)
    shares = [share.encode() for share in made.shares[1:]]

    async with serving(host(new), tmp_path) as served:
        await served.recovery.Restore(pb.RestoreRequest(content=made.content, shares=shares))
        after = await served.keys.Sign(signing)

    assert after.signature == before.signature


# --- Registered holders --------------------------------------------------------------------------

HOLDERS = {"alice": b"a" * 32, "bob": b"b" * 32, "carol": b"c" * 32}


@pytest.fixture
async def registered(tmp_path: Path) -> AsyncIterator[Any]:
    """Return the stub of a key manager where three holders are registered."""
    holders = [Holder(name, public_key_of(key)) for name, key in HOLDERS.items()]
    (tmp_path / "holders.json").write_bytes(format_holders(holders))
    async with serving(host(Bench(), holders_file=tmp_path / "holders.json"), tmp_path) as served:
        yield served.recovery


async def test_where_holders_are_registered_shares_leave_only_sealed_to_them(
    registered: Any,  # noqa: ANN401  # a stub whose types are those of the sync API
) -> None:
    made = await registered.Backup(pb.BackupRequest(threshold=2))

    assert not made.shares
    sealed = zip(made.holders, made.sealed_shares, strict=True)
    shares = [open_share(share, HOLDERS[name]) for name, share in sealed]
    assert open_backup(made.content, shares[1:])


@pytest.mark.parametrize("recipients", [[OTHER, STRANGER], [public_key_of(b"a" * 32)]])
async def test_registered_holders_are_not_passed_by(
    registered: Any,  # noqa: ANN401  # as above
    recipients: list[bytes],
) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await registered.Backup(pb.BackupRequest(threshold=2, recipient_keys=recipients))

    assert remote_error(caught.value).reason == "INVALID_FIELD"


async def test_registered_holders_that_cannot_be_read_stop_a_backup(
    registered: Any,  # noqa: ANN401  # as above
    tmp_path: Path,
) -> None:
    (tmp_path / "holders.json").write_bytes(b"{")

    with pytest.raises(aio.AioRpcError) as caught:
        await registered.Backup(pb.BackupRequest(threshold=2, share_count=3))

    assert remote_error(caught.value).reason == "HOLDERS_UNUSABLE"


async def test_a_backup_that_cannot_travel_is_refused_with_its_size(tmp_path: Path) -> None:
    bench = Bench()
    service = RecoveryService(
        bench.vault,
        holders_file=None,
        clock=bench.clock,
        random_bytes=bench.dice.randbytes,
        backup_bytes_max=100,
    )
    hosted = Hosted(
        descriptor=recovery.DESCRIPTOR,
        add_to=lambda server: recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(
            service, server
        ),
        callers=recovery.CALLERS,
    )
    async with serving(hosted, tmp_path) as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.recovery.Backup(pb.BackupRequest(threshold=2, share_count=3))

    assert remote_error(caught.value).reason == "BACKUP_TOO_LARGE"
