"""Epoch keys and the platform that seals them."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.log import log

from . import sql
from .platform.port import CodeUnsigned, Sealing, SealPolicy, Unsealable
from .rows import EPOCH
from .sealing import EPOCH_BYTES, KEY_BYTES, EpochKey, RandomBytes
from .sql import Cursor


class EpochUnusable(Exception):
    """The service must not start: without its epoch key, every secret would be lost."""


@dataclass(frozen=True)
class SealedEpoch:
    """A new epoch, sealed for the code that runs, and for later releases of its signer.

    `sealed_signer` is empty where the platform knows no signer of this code.
    """

    key: EpochKey = field(repr=False)
    sealed_code: bytes = field(repr=False)
    sealed_signer: bytes = field(repr=False)

    def write(self, cursor: Cursor, microseconds: int) -> None:
        """Store it; it is in use when the anchor names it."""
        row = (self.key.epoch, self.sealed_code, self.sealed_signer, microseconds)
        sql.upsert(cursor, EPOCH, [row])


def make_epoch(platform: Sealing, random_bytes: RandomBytes) -> SealedEpoch:
    """Make a random epoch key that only this platform opens."""
    epoch, content = random_bytes(EPOCH_BYTES), random_bytes(KEY_BYTES)
    return SealedEpoch(
        key=EpochKey(epoch, content),
        sealed_code=platform.seal(content, SealPolicy.CODE, _label(epoch)),
        sealed_signer=_seal_for_signer(platform, content, epoch),
    )


def _seal_for_signer(platform: Sealing, content: bytes, epoch: bytes) -> bytes:
    try:
        return platform.seal(content, SealPolicy.SIGNER, _label(epoch))
    except CodeUnsigned:
        log.warning("epoch.code_unsigned", way_out="other code will need a backup")
        return b""


def open_epoch(platform: Sealing, cursor: Cursor, epoch: bytes) -> EpochKey:
    """Return an epoch key, or raise `EpochUnusable`.

    After an upgrade only the copy for the signer opens; then this code gets one of its own, and the
    signer one that no older release opens. So does a signer who was not known before.
    """
    cursor.execute("SELECT sealed_code, sealed_signer FROM epoch WHERE id = ?", (epoch,))
    found = cursor.fetchone()
    if found is None:
        raise EpochUnusable("the key of an epoch is missing in keymanager.db; restore a backup")
    sealed_code, sealed_signer = found
    if not (isinstance(sealed_code, bytes) and isinstance(sealed_signer, bytes)):
        raise EpochUnusable("the key of an epoch in keymanager.db was changed; restore a backup")
    try:
        content = platform.unseal(sealed_code, _label(epoch))
    except Unsealable as error:
        content = _unseal_for_signer(platform, sealed_signer, epoch, error)
        again = platform.seal(content, SealPolicy.CODE, _label(epoch))
        cursor.execute("UPDATE epoch SET sealed_code = ? WHERE id = ?", (again, epoch))
        sealed_signer = b""
    if not sealed_signer:
        made = _seal_for_signer(platform, content, epoch)
        cursor.execute("UPDATE epoch SET sealed_signer = ? WHERE id = ?", (made, epoch))
    return EpochKey(epoch, content)


def _unseal_for_signer(
    platform: Sealing, sealed: bytes, epoch: bytes, problem: Unsealable
) -> bytes:
    try:
        if not sealed:
            raise problem
        return platform.unseal(sealed, _label(epoch))
    except Unsealable as error:
        raise EpochUnusable(
            f"the platform does not open the key of keymanager.db: {error}; start the release and "
            "the platform that sealed it, or restore a backup"
        ) from error


def forget_epochs(cursor: Cursor, kept: bytes) -> None:
    """Delete the keys of all epochs but one."""
    cursor.execute("DELETE FROM epoch WHERE id != ?", (kept,))


def _label(epoch: bytes) -> str:
    return f"keymanager/epoch/{epoch.hex()}"
