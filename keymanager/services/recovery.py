"""The contract of recovery: backups for several people together, and a new root."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import recovery_pb2 as pb
from actionvm.keymanager.v1 import recovery_pb2_grpc
from chassis.clock import Clock
from chassis.errors import InvalidField
from chassis.fields import require_range, require_request_id, require_size
from chassis.identity import OPERATOR, current_caller

from ..journal import Asker
from ..recovery import SHARES_MAX, make_backup, open_backup, seal_share
from ..sealing import RandomBytes
from ..vault import Vault

if TYPE_CHECKING:
    from chassis.interceptors import Context

BACKUP_BYTES_MAX = 60 * 1024 * 1024
SHARE_BYTES_MAX = 2_048

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["RecoveryService"]

CALLERS = dict.fromkeys(("Backup", "Restore", "RotateRoot"), frozenset({OPERATOR}))


class RecoveryService(recovery_pb2_grpc.RecoveryServiceServicer):
    """What leaves here opens only where enough people come together."""

    def __init__(self, vault: Vault, *, clock: Clock, random_bytes: RandomBytes) -> None:
        self._vault = vault
        self._clock = clock
        self._random_bytes = random_bytes

    async def Backup(self, request: pb.BackupRequest, context: Context) -> pb.BackupResponse:
        holders = list(request.recipient_keys)
        count = _share_count(request)
        require_range("threshold", request.threshold, least=1, most=count)
        state = await self._vault.export_state(by=Asker(current_caller()))
        made = await asyncio.to_thread(
            make_backup,
            state,
            threshold=request.threshold,
            count=count,
            ledger=self._vault.status.ledger,
            create_time=self._clock.now(),
            random_bytes=self._random_bytes,
        )
        if not holders:
            return pb.BackupResponse(content=made.content, shares=made.shares)
        sealed = [seal_share(share, key) for share, key in zip(made.shares, holders, strict=True)]
        return pb.BackupResponse(content=made.content, sealed_shares=sealed)

    async def Restore(self, request: pb.RestoreRequest, context: Context) -> pb.RestoreResponse:
        require_size("content", request.content, size_max=BACKUP_BYTES_MAX)
        shares = _shares(request.shares)
        state = await asyncio.to_thread(open_backup, request.content, shares)
        count = await self._vault.import_state(state, by=Asker(current_caller()))
        return pb.RestoreResponse(secret_count=count)

    async def RotateRoot(
        self, request: pb.RotateRootRequest, context: Context
    ) -> pb.RotateRootResponse:
        require_request_id(request.request_id)
        await self._vault.rotate_root(by=Asker(current_caller()))
        return pb.RotateRootResponse()


def _share_count(request: pb.BackupRequest) -> int:
    holders = len(request.recipient_keys)
    if holders and request.share_count not in {0, holders}:
        raise InvalidField("share_count", f"is not the number of recipient_keys, {holders}")
    count = holders or request.share_count
    field = "recipient_keys" if holders else "share_count"
    require_range(field, count, least=1, most=SHARES_MAX)
    return count


def _shares(given: Sequence[bytes]) -> list[str]:
    require_size("shares", given, size_max=SHARES_MAX)
    shares = []
    for i, share in enumerate(given):
        require_size(f"shares[{i}]", share, size_max=SHARE_BYTES_MAX)
        try:
            shares.append(share.decode())
        except UnicodeDecodeError:
            raise InvalidField(f"shares[{i}]", "is not text") from None
    return shares
