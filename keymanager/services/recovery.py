"""The contract of recovery: backups for several people together, and a new root."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import recovery_pb2 as pb
from actionvm.keymanager.v1 import recovery_pb2_grpc
from chassis.clock import Clock
from chassis.errors import InvalidField
from chassis.fields import require_range, require_request_id, require_size
from chassis.holders import (
    Holder,
    HolderKeyInvalid,
    HoldersMalformed,
    read_holders,
    seal_share,
)
from chassis.identity import OPERATOR, current_caller

from ..errors import BackupTooLarge, HoldersUnusable
from ..journal import Asker
from ..recovery import SHARES_MAX, THRESHOLD_MIN, make_backup, open_backup
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

    def __init__(
        self,
        vault: Vault,
        *,
        holders_file: Path | None,
        clock: Clock,
        random_bytes: RandomBytes,
        backup_bytes_max: int = BACKUP_BYTES_MAX,
    ) -> None:
        self._vault = vault
        self._holders_file = holders_file
        self._clock = clock
        self._random_bytes = random_bytes
        self._backup_bytes_max = backup_bytes_max

    async def Backup(self, request: pb.BackupRequest, context: Context) -> pb.BackupResponse:
        registered = await asyncio.to_thread(self._holders)
        keys = _recipient_keys(request, registered)
        count = _share_count(request, keys)
        require_range("threshold", request.threshold, least=THRESHOLD_MIN, most=count)
        names = [holder.name for holder in registered]
        state = await self._vault.export_state(
            by=Asker(current_caller()),
            shares={
                "threshold": request.threshold,
                "shares": count,
                "holders": ",".join(names or (key.hex()[:16] for key in keys)),
            },
        )
        made = await asyncio.to_thread(
            make_backup,
            state,
            threshold=request.threshold,
            count=count,
            ledger=self._vault.status.ledger,
            create_time=self._clock.now(),
            random_bytes=self._random_bytes,
        )
        if len(made.content) > self._backup_bytes_max:
            raise BackupTooLarge(len(made.content), self._backup_bytes_max)
        if not keys:
            return pb.BackupResponse(content=made.content, shares=made.shares)
        sealed = [_seal_share(share, key) for share, key in zip(made.shares, keys, strict=True)]
        return pb.BackupResponse(content=made.content, sealed_shares=sealed, holders=names)

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
        await self._vault.rotate_root(request.request_id, by=Asker(current_caller()))
        return pb.RotateRootResponse()

    def _holders(self) -> tuple[Holder, ...]:
        try:
            return read_holders(self._holders_file) if self._holders_file else ()
        except HoldersMalformed as error:
            raise HoldersUnusable from error


def _recipient_keys(request: pb.BackupRequest, registered: Sequence[Holder]) -> list[bytes]:
    """Return to which keys shares are sealed; none if they are to be answered as words."""
    asked = list(request.recipient_keys)
    known = [holder.key for holder in registered]
    if len(set(asked)) != len(asked):
        raise InvalidField("recipient_keys", "names a key twice, so one person would have two")
    if known and asked and set(asked) != set(known):
        raise InvalidField("recipient_keys", "are not those of the registered holders")
    return known or asked


def _share_count(request: pb.BackupRequest, keys: Sequence[bytes]) -> int:
    if keys and request.share_count not in {0, len(keys)}:
        raise InvalidField("share_count", f"is not the number of holders, {len(keys)}")
    count = len(keys) or request.share_count
    field = "recipient_keys" if keys else "share_count"
    require_range(field, count, least=THRESHOLD_MIN, most=SHARES_MAX)
    return count


def _seal_share(share: str, key: bytes) -> bytes:
    try:
        return seal_share(share, key)
    except HolderKeyInvalid as error:
        raise InvalidField("recipient_keys", "has a key that is no X25519 public key") from error


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
