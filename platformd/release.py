"""A signed release: who vouches for the code of a checkout, and which security version it is.

`release.json` lies in the top folder: a flat canonical object with `format`, `security_version`,
`lock` (SHA-256 of requirements.lock), and for each folder of code `sources.<folder>` (as
`Sources.hash_folder` says). `release.json.sig` is the Ed25519 signature of
`actionvm/release/v1 LF <release.json>` in hexadecimal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import protocol

FORMAT = "actionvm.release/v1"
PURPOSE = b"actionvm/release/v1\n"
FILE_BYTES_MAX = 65_536
_SOURCES = "sources."


class ReleaseInvalid(Exception):
    """The manifest of the release is not what the release key signed."""


@dataclass(frozen=True)
class Release:
    """What the holder of a release key said; `signer` is the SHA-256 of that key."""

    signer: bytes
    security_version: int
    lock: str
    sources: Mapping[str, str]

    def covers(self, lock: str, sources: Mapping[str, str]) -> bool:
        """Tell whether this code is the code of the release."""
        return self.lock == lock and all(
            self.sources.get(folder) == found for folder, found in sources.items()
        )


def read_release(checkout: Path, key: bytes) -> Release | None:
    """Return the release of a checkout, None if it is none; raise ReleaseInvalid."""
    manifest, signature = checkout / "release.json", checkout / "release.json.sig"
    if not manifest.exists():
        return None
    try:
        content = manifest.read_bytes()
        written = signature.read_text("ascii").strip()
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(written), PURPOSE + content)
        fields = protocol.decode(content)
        if protocol.text(fields, "format", len(FORMAT)) != FORMAT or len(content) > FILE_BYTES_MAX:
            raise ReleaseInvalid(f"{manifest} has another format")
        return Release(
            signer=hashlib.sha256(key).digest(),
            security_version=protocol.number(fields, "security_version"),
            lock=protocol.octets(fields, "lock", protocol.HASH_BYTES).hex(),
            sources={
                name.removeprefix(_SOURCES): protocol.octets(fields, name, 32).hex()
                for name in fields
                if name.startswith(_SOURCES)
            },
        )
    except (OSError, ValueError, InvalidSignature) as error:
        raise ReleaseInvalid(f"{manifest} is not signed by the release key") from error


def owner_signer(uid: int) -> bytes:
    """Return who stands behind an unsigned checkout: whoever runs it, and nobody else."""
    return hashlib.sha256(f"owner:{uid}".encode()).digest()
