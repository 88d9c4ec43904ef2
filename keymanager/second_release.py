"""What the second release left: requests without the anchor. Only a migration reads it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from .batch import Batch
from .requests import OldAnswer, take_over
from .sealing import encode
from .sql import Cell, Cursor


@dataclass(frozen=True)
class SecondRelease:
    """Answered requests, each with the MAC that it had."""

    requests: tuple[tuple[Cell, ...], ...]

    def take_over(self, batch: Batch) -> None:
        """Put the requests under the anchor; those that were changed stay broken."""
        for id_, tag, secret, version, microseconds, mac in self.requests:
            known = batch.digest(encode("request", id_, tag, secret, version, microseconds))
            is_genuine = isinstance(mac, bytes) and hmac.compare_digest(mac, known)
            if is_genuine:
                assert isinstance(tag, bytes), "it is genuine"
                old = OldAnswer(str(id_), tag, str(secret), int(version), int(microseconds))
            else:
                old = OldAnswer(str(id_), b"", "", 0, 0)
            take_over(batch, old, is_genuine=is_genuine)


def read_second_release(cursor: Cursor) -> SecondRelease:
    """Return what the table of requests holds, genuine or not."""
    cursor.execute("SELECT id, tag, secret, version, rotate_microseconds, mac FROM request")
    return SecondRelease(tuple(cursor.fetchall()))
