"""Approves code for a TPM: `python -m keymanager.platform.sign_release KEY --code … -o FILE`.

KEY is a P-256 key in PEM (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`), and
the code is the value that PCR 14 has when the release runs (`tpm2_pcrread sha256:14`). Written is
what `KEYMANAGER_TPM_RELEASE_FILE` names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from platformd import protocol

from .tpm_release import TpmRelease, approval, format_tpm_release

ROLE = "keymanager"
# Each has an approval of its own in the file.
VERSIONS_MAX = 1_000


def sign_release(
    code: bytes, key: EllipticCurvePrivateKey, *, role: str = ROLE, security_version: int
) -> TpmRelease:
    """Approve code for its own security version, and for every one before."""
    approvals = {
        version: key.sign(approval(code, role, version), ECDSA(Prehashed(SHA256())))
        for version in range(security_version + 1)
    }
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return TpmRelease(role, security_version, point, approvals)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a release file; exit with 1 if that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key", type=Path, help="PEM of a P-256 key")
    parser.add_argument("--code", required=True, help="the value of PCR 14, in hexadecimal")
    parser.add_argument("--security-version", type=int, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        key = _read_key(asked.key)
        # As a packet would say them: a hash of 32 bytes, and a number from 0.
        fields = {"code": asked.code, "security_version": asked.security_version}
        code = protocol.octets(fields, "code", protocol.HASH_BYTES)
        version = protocol.number(fields, "security_version")
        if version > VERSIONS_MAX:
            parser.error(f"a security version is at most {VERSIONS_MAX}")
        release = sign_release(code, key, security_version=version)
        asked.output.write_bytes(format_tpm_release(release))
    except (OSError, TypeError, ValueError) as error:
        sys.stderr.write(f"keymanager: nothing was signed: {error}\n")
        raise SystemExit(1) from error


def _read_key(file: Path) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise TypeError(f"{file} is no P-256 key")
    return key


if __name__ == "__main__":
    main()
