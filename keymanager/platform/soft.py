"""The emulated platform: keys come from platformd, the content of a seal never goes there."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from platformd import protocol
from platformd.client import Connection, Refused

from ..sealing import RandomBytes
from .port import (
    Measurement,
    PlatformUnavailable,
    Quote,
    SealPolicy,
    Unsealable,
    UnsealProblem,
    read_measurement,
)

CONTENT_BYTES_MAX = 65_536
NONCE_BYTES = 12
# A platformd that was killed is back within a tenth of a second; a first start reads all sources.
RETRIES = 100
PAUSE_SECONDS = 0.05

_MAGIC = b"avm-seal"
_POLICIES = {SealPolicy.CODE: 1, SealPolicy.SIGNER: 2}
# Magic, policy, security version, identity.
_HEADER = struct.Struct(">8sBQ32s")

Answer = TypeVar("Answer")


class SoftPlatform:
    """The platform over the socket of platformd; connects again when that was restarted.

    May be used from many threads; they take turns.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        random_bytes: RandomBytes,
        pause: Callable[[float], object],
    ) -> None:
        self._connect = connect
        self._random_bytes = random_bytes
        self._pause = pause
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def measure(self) -> Measurement:
        """Return what platformd found out about this process when it connected."""
        return self._ask(read_measurement, "measure")

    def explain(self) -> str:
        """Return why this process has no role; empty if it has one."""
        return self._ask(
            lambda answer: protocol.text(answer, "problem", protocol.PACKET_BYTES_MAX), "measure"
        )

    def seal(self, content: bytes, policy: SealPolicy, label: str) -> bytes:
        """Encrypt with AES-256-GCM-SIV under a key that platformd derives for this process."""
        assert len(content) <= CONTENT_BYTES_MAX, "what is sealed is a key, not data"
        version = self.measure().security_version
        identity, cipher = self._cipher(policy, label, version)
        header = _HEADER.pack(_MAGIC, _POLICIES[policy], version, identity)
        nonce = self._random_bytes(NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, content, header + label.encode())

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """Return the content; raise Unsealable."""
        header, rest = sealed[: _HEADER.size], sealed[_HEADER.size :]
        nonce, ciphertext = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        policy, version = self._read_header(header)
        if len(nonce) < NONCE_BYTES:
            raise Unsealable(UnsealProblem.DAMAGED)
        try:
            _, cipher = self._cipher(policy, label, version)
            return cipher.decrypt(nonce, ciphertext, header + label.encode())
        except InvalidTag as error:
            raise Unsealable(UnsealProblem.DAMAGED) from error

    def quote(self, report_data: bytes) -> Quote:
        """Let platformd sign what it measured."""
        assert len(report_data) == protocol.REPORT_BYTES, "report data has 64 bytes"
        return self._ask(
            lambda answer: Quote.from_bytes(protocol.encode(answer)),
            "quote",
            report_data=report_data.hex(),
        )

    def has_counted(self) -> bool:
        """Tell whether the counter was ever incremented."""
        return self.read_counter() > 0

    def read_counter(self) -> int:
        """Return the counter of this role."""
        return self._ask(_counter, "read_counter")

    def increment_counter(self) -> int:
        """Return one more than before; a request that got lost on the way counts once."""
        request = self._random_bytes(protocol.REQUEST_BYTES).hex()
        return self._ask(_counter, "increment_counter", request=request)

    def close(self) -> None:
        """Hang up; another question connects again."""
        with self._lock:
            self._hang_up()

    def _read_header(self, header: bytes) -> tuple[SealPolicy, int]:
        """Return policy and security version; raise Unsealable where no key would help."""
        if len(header) != _HEADER.size:
            raise Unsealable(UnsealProblem.DAMAGED)
        magic, number, version, identity = _HEADER.unpack(header)
        policies = {number: policy for policy, number in _POLICIES.items()}
        if magic != _MAGIC or number not in policies:
            raise Unsealable(UnsealProblem.DAMAGED)
        own, policy = self.measure(), policies[number]
        if policy is SealPolicy.CODE and identity != own.code:
            raise Unsealable(UnsealProblem.OTHER_CODE)
        if policy is SealPolicy.SIGNER and identity != own.signer:
            raise Unsealable(UnsealProblem.OTHER_SIGNER)
        if version > own.security_version:
            raise Unsealable(UnsealProblem.NEWER_SECURITY_VERSION)
        return policy, version

    def _cipher(self, policy: SealPolicy, label: str, version: int) -> tuple[bytes, AESGCMSIV]:
        """Return for whom a key is derived, and the cipher with that key."""

        def read(answer: protocol.Fields) -> tuple[bytes, AESGCMSIV]:
            key = protocol.octets(answer, "key", protocol.KEY_BYTES)
            return protocol.octets(answer, "identity", protocol.HASH_BYTES), AESGCMSIV(key)

        return self._ask(
            read, "derive_key", policy=policy.value, label=label, security_version=version
        )

    def _ask(
        self,
        read: Callable[[protocol.Fields], Answer],
        operation: str,
        **fields: protocol.Value,
    ) -> Answer:
        """Ask until there is an answer, for some seconds; every request may be repeated."""
        with self._lock:
            for _ in range(RETRIES):
                try:
                    if self._connection is None:
                        self._connection = self._connect()
                    return read(self._connection.ask(operation, **fields))
                except OSError:
                    self._hang_up()
                    self._pause(PAUSE_SECONDS)
                except (Refused, protocol.PacketInvalid) as error:
                    self._hang_up()
                    raise PlatformUnavailable(f"platformd refuses: {error}") from error
        raise PlatformUnavailable(
            "platformd does not answer; actionvm status shows it, its log says why"
        )

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _counter(answer: protocol.Fields) -> int:
    return protocol.number(answer, "counter")
