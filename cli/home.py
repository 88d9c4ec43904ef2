"""The home folder: identities, data and logs of one system, readable by its owner alone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.identity import OPERATOR, Token

from .files import write_private
from .identities import Identities, new_token

WEBHOOK_KEY_BYTES = 32


@dataclass(frozen=True)
class Home:
    """One folder, absolute; two systems on one machine have two homes and two port bases.

    `ca` and `token` are files that a client elsewhere uses in place of those in the folder.
    """

    folder: Path
    ca: Path | None = None
    token: Path | None = None

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def identities(self) -> Identities:
        return Identities(self.identities_file)

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
    def holders_file(self) -> Path:
        return self.folder / "holders.json"

    @property
    def platform_socket(self) -> Path:
        return self.folder / "platformd.sock"

    @property
    def mark_file(self) -> Path:
        """Return where a client remembers how far the log of the key manager was."""
        return self.folder / "keymanager.mark"

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
        for service in services:
            # Of a release in which services had tokens.
            self.token_file(service).unlink(missing_ok=True)
        own = {self._make_token(OPERATOR): Token(OPERATOR, OPERATOR)}
        self.identities.keep(own, without=services)

    def own_authority(self) -> bytes:
        """Return the certificate that the services of this home hang on; empty until it is made."""
        return self.ca_file.read_bytes() if self.ca_file.exists() else b""

    def authority(self) -> bytes:
        """Return the certificate that a client checks services against; empty if there is none."""
        return self.ca.read_bytes() if self.ca else self.own_authority()

    def operator_token(self) -> str:
        """Return the token of the person at the command line; empty if there is no home yet."""
        file = self.token or self.token_file(OPERATOR)
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
            write_private(file, new_token().encode())
        return file.read_text().strip()
