"""What the first release left: secrets under a root key in a file. Only a migration reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from .batch import Batch
from .requests import OldAnswer, join, take_over
from .sealing import KEY_BYTES, MAC_BYTES, NONCE_BYTES, derive

_FORMAT = b"actionvm/keymanager/seal/v1"


class RootKeyUnusable(Exception):
    """The service must not start: without this root key, every secret would be lost."""


@dataclass(frozen=True)
class OldSecret:
    """A secret as it was, with its value."""

    value: bytes = field(repr=False)
    name: str
    kind: int
    version: int
    create_microseconds: int
    rotate_microseconds: int


@dataclass(frozen=True)
class FirstRelease:
    """All that there was."""

    secrets: tuple[OldSecret, ...]
    requests: tuple[OldAnswer, ...]
    tag_key: bytes = field(repr=False)

    def take_over_requests(self, batch: Batch) -> None:
        """Remember what was answered, so that no repeat acts again."""
        for request in self.requests:
            take_over(batch, request)


def read_first_release(connection: Connection, root_file: Path) -> FirstRelease:
    """Open all secrets, or raise `RootKeyUnusable`: half of them would be none."""
    root = _read_root(root_file)
    wrapping = AESGCM(derive(root, b"wrap"))
    statement = (
        "SELECT name, kind, version, create_microseconds, rotate_microseconds, wrapped_key, "
        "ciphertext FROM secrets ORDER BY name"
    )
    secrets = tuple(
        _open(wrapping, tuple(row), root_file)
        for row in connection.exec_driver_sql(statement).fetchall()
    )
    statement = "SELECT request_id, tag, secret, version, rotate_microseconds FROM requests"
    requests = [
        OldAnswer(str(id_), bytes(tag) or bytes(MAC_BYTES), str(secret), int(version), int(time))
        for id_, tag, secret, version, time in connection.exec_driver_sql(statement)
    ]
    return FirstRelease(secrets, tuple(requests), derive(root, b"tag"))


def _read_root(path: Path) -> bytes:
    if not path.exists():
        raise RootKeyUnusable(
            f"{path} is missing, but secrets are sealed under it; restore it from a backup, or "
            "move the whole folder away to start without these secrets"
        )
    content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise RootKeyUnusable(f"{path} has not {KEY_BYTES} bytes; restore it from a backup")
    return content


def _open(wrapping: AESGCM, row: tuple[object, ...], root_file: Path) -> OldSecret:
    name, kind, version, create_time, rotate_time, wrapped_key, ciphertext = row
    texts = (str(part).encode() for part in (name, version, kind, create_time, rotate_time))
    bound = join(_FORMAT, *texts)
    try:
        data_key = _decrypt(wrapping, wrapped_key, bound)
        value = _decrypt(AESGCM(data_key), ciphertext, bound)
    except (InvalidTag, ValueError) as error:
        raise RootKeyUnusable(
            f"{root_file} does not open {name}: it belongs to another database, or the row was "
            "changed; restore both files from the same backup"
        ) from error
    numbers = (int(str(part)) for part in (kind, version, create_time, rotate_time))
    return OldSecret(value, str(name), *numbers)


def _decrypt(cipher: AESGCM, content: object, bound: bytes) -> bytes:
    assert isinstance(content, bytes), "the table says so"
    return cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], bound)
