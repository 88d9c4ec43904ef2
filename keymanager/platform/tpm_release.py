"""What a release key approves for a TPM: which code may open what was sealed for its signer."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformd import protocol

from .port import PlatformUnavailable

FORMAT = "actionvm.tpm-release/v1"

_CC_POLICY_PCR, _CC_POLICY_AUTHORIZE = 0x017F, 0x016A
# PCR 14 alone, in the bank of SHA-256: one bit in three bytes.
SELECTION = struct.pack(">IHB3B", 1, 0x000B, 3, 0, 1 << 6, 0)


@dataclass(frozen=True)
class TpmRelease:
    """What a release key says: role and version of the code, and what it approves.

    `key` is a point of P-256 (65 bytes), empty for code that nobody signed. `approvals` are ECDSA
    signatures (DER) of `approval(code, role, version)` for every version up to the own one.
    """

    role: str
    security_version: int
    key: bytes
    approvals: Mapping[int, bytes]

    @property
    def signer(self) -> bytes:
        """Return the hash of the key."""
        return hashlib.sha256(self.key).digest()


def read_tpm_release(path: Path) -> TpmRelease:
    """Read a release file; raise PlatformUnavailable."""
    try:
        fields = protocol.decode(path.read_bytes())
        if fields.get("format") != FORMAT:
            raise protocol.PacketInvalid("it has another format")
        return TpmRelease(
            role=protocol.text(fields, "role", protocol.ROLE_CHARACTERS_MAX),
            security_version=protocol.number(fields, "security_version"),
            key=protocol.octets(fields, "key", 65),
            approvals={
                int(name.removeprefix("approval.")): bytes.fromhex(str(value))
                for name, value in fields.items()
                if name.startswith("approval.")
            },
        )
    except (OSError, ValueError) as error:
        raise PlatformUnavailable(f"{path} is no release: {error}") from error


def format_tpm_release(release: TpmRelease) -> bytes:
    """Return what `read_tpm_release` reads."""
    approvals = {
        f"approval.{version}": signature.hex() for version, signature in release.approvals.items()
    }
    return protocol.encode(
        {
            "format": FORMAT,
            "role": release.role,
            "security_version": release.security_version,
            "key": release.key.hex(),
            **approvals,
        }
    )


def policy_of_code(code: bytes) -> bytes:
    """Return the digest of PolicyPCR for a value of the PCR."""
    command = struct.pack(">I", _CC_POLICY_PCR)
    values = hashlib.sha256(code).digest()
    return hashlib.sha256(bytes(32) + command + SELECTION + values).digest()


def approval(code: bytes, role: str, security_version: int) -> bytes:
    """Return the digest that a release key signs to approve code for a security version."""
    return hashlib.sha256(policy_of_code(code) + reference(role, security_version)).digest()


def reference(role: str, security_version: int) -> bytes:
    """Return what keeps approvals of roles and versions apart."""
    written = protocol.encode({"role": role, "security_version": security_version})
    return hashlib.sha256(b"actionvm/tpm-release/v1\n" + written).digest()


def authorized(name: bytes, policy_reference: bytes) -> bytes:
    """Return the digest of PolicyAuthorize."""
    command = struct.pack(">I", _CC_POLICY_AUTHORIZE)
    first = hashlib.sha256(bytes(32) + command + name).digest()
    return hashlib.sha256(first + policy_reference).digest()
