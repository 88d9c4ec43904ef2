"""A checkout that was signed is the release of its signer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from platformd.sign_release import main

from .checkouts import Checkout

PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def sign(checkout: Checkout, file: Path, content: bytes) -> None:
    """Run the command with a key."""
    file.write_bytes(content)
    main([str(file), "--security-version", "3"], checkout=checkout.folder)


def test_with_what_it_shows_platformd_knows_the_release(
    checkout: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.kill()
    sign(checkout, tmp_path / "release.pem", KEY.private_bytes(*PEM))
    name, _, value = capsys.readouterr().out.strip().partition("=")
    checkout.settings[name] = value
    checkout.start()

    measured = checkout.measure()

    signer = hashlib.sha256(KEY.public_key().public_bytes_raw()).hexdigest()
    assert (measured["signer"], measured["security_version"], measured["debug"]) == (
        signer,
        3,
        False,
    )


@pytest.mark.parametrize(
    "content", [b"no key", generate_private_key(SECP256R1()).private_bytes(*PEM)], ids=["no", "EC"]
)
def test_another_kind_of_key_signs_nothing(
    checkout: Checkout, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(SystemExit):
        sign(checkout, tmp_path / "release.pem", content)

    assert not (checkout.folder / "release.json").exists()
