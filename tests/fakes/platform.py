"""A platform for tests: it seals under one fixed key, and its counter outlives who counts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from keymanager.platform.port import (
    CodeUnsigned,
    Measurement,
    PlatformUnavailable,
    Quote,
    SealPolicy,
    Unsealable,
    UnsealProblem,
)
from platformd import protocol

_NONCE = bytes(12)


class FakePlatform:
    """Counts in memory, or in a file if there is a path. `code` is what it measures."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        code: str = "code",
        role: str = "keymanager",
        first_count: int = 0,
        is_signed: bool = True,
        security_version: int = 2,
    ) -> None:
        self._path = path
        self.role = role
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self._first_count = self._counter = first_count
        self.is_signed = is_signed
        self.security_version = security_version
        self.code = code
        self.seal_count = 0
        self._failures: list[Exception] = []

    def fail_next(self, error: Exception | None = None) -> None:
        """Let the next call fail."""
        self._failures.append(error or PlatformUnavailable())

    def measure(self) -> Measurement:
        """Say what a process of this role is."""
        code = hashlib.sha256(self.code.encode()).digest()
        return Measurement(
            self.role, code, b"s" * 32, self.security_version, debug=not self.is_signed
        )

    def quote(self, report_data: bytes) -> Quote:
        """Sign that with the report data."""
        measured = self.measure()
        return self.sign(
            Quote("soft", measured, report_data, hardware=False, signature=b"", key=b"")
        )

    def sign(self, quote: Quote) -> Quote:
        """Return a quote, whatever it says, with the key and the signature of this platform."""
        made = replace(quote, key=self.key.public_key().public_bytes_raw())
        content = protocol.quoted(protocol.decode(made.to_bytes()))
        return replace(made, signature=self.key.sign(content))

    def running(self, role: str) -> FakePlatform:
        """Return the same platform as it measures another process."""
        other = FakePlatform(
            code=self.code,
            role=role,
            is_signed=self.is_signed,
            security_version=self.security_version,
        )
        other.key = self.key
        return other

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes:
        self._may_fail()
        if policy is SealPolicy.SIGNER and not self.is_signed:
            raise CodeUnsigned
        self.seal_count += 1
        return self._cipher(policy).encrypt(_NONCE, content, label.encode())

    def unseal(self, sealed: bytes, label: str) -> bytes:
        self._may_fail()
        for policy in SealPolicy:
            try:
                return self._cipher(policy).decrypt(_NONCE, sealed, label.encode())
            except (InvalidTag, ValueError):
                continue
        raise Unsealable(UnsealProblem.DAMAGED)

    def has_counted(self) -> bool:
        return self.read_counter() > self._first_count

    def read_counter(self) -> int:
        self._may_fail()
        if self._path is not None and self._path.exists():
            return int(self._path.read_text())
        return self._counter

    def increment_counter(self) -> int:
        self._counter = self.read_counter() + 1
        if self._path is not None:
            draft = self._path.with_suffix(".new")
            draft.write_text(str(self._counter))
            draft.replace(self._path)
        return self._counter

    def _cipher(self, policy: SealPolicy) -> AESGCMSIV:
        who = self.code if policy is SealPolicy.CODE else "signer"
        return AESGCMSIV(hashlib.sha256(f"{policy.value}:{who}".encode()).digest())

    def _may_fail(self) -> None:
        if self._failures:
            raise self._failures.pop(0)


@dataclass(frozen=True)
class FakeAttester:
    """The platform as a process of one role sees it."""

    platform: FakePlatform
    role: str

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote as it travels."""
        return self.platform.running(self.role).quote(report_data).to_bytes()
