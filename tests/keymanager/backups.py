"""Backups for tests, whole and changed."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import UTC, datetime

from chassis.canonical import Json, canonical_json
from keymanager.recovery import Backup, make_backup

CONTENT = b"all secrets" * 20
TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def made(threshold: int = 3, count: int = 5, *, seed: int = 1, content: bytes = CONTENT) -> Backup:
    return make_backup(
        content,
        threshold=threshold,
        count=count,
        ledger="ledger-1",
        create_time=TIME,
        random_bytes=random.Random(seed).randbytes,
    )


BACKUP = made()
ENOUGH = BACKUP.shares[:3]
LINE, _, _ = BACKUP.content.partition(b"\n")


def checksummed(content: bytes) -> bytes:
    """Return a backup with a checksum that fits, as whoever changes it on purpose makes it."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def with_header(**fields: Json) -> bytes:
    changed = canonical_json({**json.loads(LINE), **fields})
    return checksummed(BACKUP.content.replace(LINE, changed))


def with_word(share: str, place: int, word: str) -> str:
    words = share.split()
    words[place] = word
    return " ".join(words)
