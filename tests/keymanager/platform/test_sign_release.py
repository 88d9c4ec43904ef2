"""A release file for a TPM says what a key approves, and is read as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keymanager.platform.sign_release import main
from keymanager.platform.tpm_release import approval, read_tpm_release

CODE = bytes(range(32))
KEY = generate_private_key(SECP256R1())
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a file with the release key."""
    (tmp_path / "release.pem").write_bytes(KEY.private_bytes(*PEM))
    return tmp_path / "release.pem"


def sign(key: Path, output: Path, *, code: str = CODE.hex(), version: str = "2") -> None:
    """Run the command."""
    main([str(key), "--code", code, "--security-version", version, "-o", str(output)])


def test_a_release_approves_its_code_for_every_version_up_to_its_own(key: Path) -> None:
    sign(key, key.with_name("release.json"))

    release = read_tpm_release(key.with_name("release.json"))

    assert (release.role, release.security_version, [*release.approvals]) == (
        "keymanager",
        2,
        [0, 1, 2],
    )
    for version, signature in release.approvals.items():
        digest = approval(CODE, "keymanager", version)
        KEY.public_key().verify(signature, digest, ECDSA(Prehashed(SHA256())))


@pytest.mark.parametrize(
    ("code", "version"), [("00", "2"), ("x", "2"), (CODE.hex(), "-1"), (CODE.hex(), "1001")]
)
def test_what_is_no_code_or_version_is_not_signed(key: Path, code: str, version: str) -> None:
    with pytest.raises(SystemExit):
        sign(key, key.with_name("release.json"), code=code, version=version)

    assert not key.with_name("release.json").exists()


def test_another_kind_of_key_signs_nothing(key: Path) -> None:
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(*PEM))

    with pytest.raises(SystemExit):
        sign(key, key.with_name("release.json"))
