"""The home folder: identities, data and logs of one system, readable by its owner alone."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.identity import OPERATOR, hash_token

TOKEN_BYTES = 32
WEBHOOK_KEY_BYTES = 32


@dataclass(frozen=True)
class Home:
    """One folder, absolute; two systems on one machine have two homes and two port bases."""

    folder: Path

    @property
    def identities_file(self) -> Path:
        return self.folder / "identities.json"

    @property
    def state_file(self) -> Path:
        return self.folder / "supervisor.json"

    @property
    def lock_file(self) -> Path:
        return self.folder / "supervisor.lock"

    @property
    def webhook_key_file(self) -> Path:
        return self.folder / "webhooks.key"

    @property
    def platform_socket(self) -> Path:
        return self.folder / "platformd.sock"

    @property
    def logs_dir(self) -> Path:
        return self.folder / "logs"

    @property
    def tokens_dir(self) -> Path:
        return self.folder / "tokens"

    def token_file(self, owner: str) -> Path:
        return self.tokens_dir / owner

    def data_dir(self, service: str) -> Path:
        return self.folder / "data" / service

    def log_file(self, service: str) -> Path:
        return self.logs_dir / f"{service}.log"

    def prepare(self, services: Sequence[str]) -> None:
        """Make what is missing; what is there stays, so that this may be repeated at any time."""
        folders = [self.folder, self.tokens_dir, self.folder / "data", self.logs_dir]
        for folder in (*folders, *map(self.data_dir, services)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.webhook_key_file.exists():
            write_private(self.webhook_key_file, secrets.token_bytes(WEBHOOK_KEY_BYTES))
        owners = (*services, OPERATOR)
        tokens = {owner: self._make_token(owner) for owner in owners}
        identities = {hash_token(token): owner for owner, token in tokens.items()}
        content = json.dumps(identities, indent=1, sort_keys=True).encode()
        if not self.identities_file.exists() or self.identities_file.read_bytes() != content:
            write_private(self.identities_file, content)

    def operator_token(self) -> str:
        """Return the token of the person at the command line; empty if there is no home yet."""
        file = self.token_file(OPERATOR)
        return file.read_text().strip() if file.exists() else ""

    def tail(self, service: str, lines_max: int = 10) -> list[str]:
        """Return the last lines of a log; of a long one only the end is read."""
        file = self.log_file(service)
        if not file.exists():
            return []
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - 16_384))
            return log.read().decode(errors="replace").splitlines()[-lines_max:]

    def _make_token(self, owner: str) -> str:
        file = self.token_file(owner)
        if not file.exists():
            write_private(file, secrets.token_urlsafe(TOKEN_BYTES).encode())
        return file.read_text().strip()


def write_private(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, whenever the process dies; only its owner reads it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
