"""The primitives that the uses stand on agree with the vectors of Wycheproof."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import coincurve
import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.handover import Recipient
from keymanager.uses.keys import load_key
from keymanager.uses.macs import Algorithm, Hmac
from tests.specs import specs_folder

from .samples import perform

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# How many vectors each file has at least: one of which nothing is left proves nothing.
LEAST = {
    "aes_gcm": 66,
    "ecdsa_secp256k1_sha256": 476,
    "ecdsa_secp256r1_sha256": 484,
    "ed25519": 151,
    "hkdf_sha256": 86,
    "hmac_sha1": 170,
    "hmac_sha256": 174,
    "x25519": 518,
}
# Of HMAC-SHA-256, those with a key and a message that the key manager takes.
OURS = 114

Fields: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Vector:
    """One vector with what its group says."""

    group: Fields
    fields: Fields

    def of(self, name: str) -> bytes:
        """Return a field of hexadecimal digits."""
        return bytes.fromhex(str(self.fields[name]))

    @property
    def is_valid(self) -> bool:
        """Whether it must be accepted; where either is right, so it is for us."""
        return self.fields["result"] != "invalid"

    @property
    def label(self) -> str:
        """Return what a failure is told by."""
        return f"{self.fields['tcId']}: {self.fields['comment']}"

    @property
    def public_key(self) -> bytes:
        """Return the point or the raw key of the group."""
        key = cast("Fields", self.group["publicKey"])
        return bytes.fromhex(str(key.get("uncompressed") or key["pk"]))


def vectors(name: str, **wanted: int) -> list[Vector]:
    """Return the vectors of a file in groups that are as wanted, or skip the test without it."""
    content = json.loads((specs_folder("wycheproof") / f"{name}_test.json").read_text())
    found = [
        Vector(group, fields)
        for group in content["testGroups"]
        if wanted.items() <= group.items()
        for fields in group["tests"]
    ]
    assert len(found) >= LEAST[name]
    assert {vector.is_valid for vector in found} == {True, False} or name == "x25519"
    return found


def test_ed25519() -> None:
    for vector in vectors("ed25519"):
        key = Ed25519PublicKey.from_public_bytes(vector.public_key)
        try:
            key.verify(vector.of("sig"), vector.of("msg"))
        except InvalidSignature:
            assert not vector.is_valid, vector.label
        else:
            assert vector.is_valid, vector.label


def test_p256() -> None:
    for vector in vectors("ecdsa_secp256r1_sha256"):
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), vector.public_key)
        try:
            key.verify(vector.of("sig"), vector.of("msg"), ec.ECDSA(SHA256()))
        except InvalidSignature:
            assert not vector.is_valid, vector.label
        else:
            assert vector.is_valid, vector.label


def test_secp256k1() -> None:
    for vector in vectors("ecdsa_secp256k1_sha256"):
        key, signature = coincurve.PublicKey(vector.public_key), vector.of("sig")
        try:
            r, s = decode_dss_signature(signature)
            # libsecp256k1 reads DER loosely, as Bitcoin did, and it takes a low s only.
            is_readable = encode_dss_signature(r, s) == signature
            is_accepted = is_readable and key.verify(
                encode_dss_signature(r, min(s, ORDER - s)), vector.of("msg")
            )
        except (OverflowError, ValueError):
            is_accepted = False
        assert is_accepted == vector.is_valid, vector.label


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_hmac(name: str) -> None:
    ours = 0
    for vector in vectors(f"hmac_{name}"):
        key, message, tag = (vector.of(field) for field in ("key", "msg", "tag"))
        if name == "sha256" and message and len(key) >= 16:
            code = perform(Hmac(Algorithm.SHA256, message), load_key(Kind.HMAC, key))
            ours += 1
        else:
            code = hmac.digest(key, message, name)
        assert (code[: len(tag)] == tag) == vector.is_valid, vector.label
    assert ours >= OURS or name != "sha256", ours


def test_hkdf() -> None:
    for vector in vectors("hkdf_sha256"):
        salt, info, size = vector.of("salt"), vector.of("info"), vector.fields["size"]
        assert isinstance(size, int)
        try:
            key = HKDF(SHA256(), size, salt, info).derive(vector.of("ikm"))
        except ValueError:
            assert not vector.is_valid, vector.label
        else:
            assert (key == vector.of("okm")) == vector.is_valid, vector.label


def test_aes_gcm() -> None:
    for vector in vectors("aes_gcm", keySize=256, ivSize=96):
        cipher, ciphertext = AESGCM(vector.of("key")), vector.of("ct") + vector.of("tag")
        try:
            found = cipher.decrypt(vector.of("iv"), ciphertext, vector.of("aad"))
        except InvalidTag:
            assert not vector.is_valid, vector.label
        else:
            assert vector.is_valid, vector.label
            assert found == vector.of("msg"), vector.label


def test_x25519_and_recipients_of_small_order() -> None:
    refused = 0
    for vector in vectors("x25519"):
        public = vector.of("public")
        if not any(vector.of("shared")):
            with pytest.raises(InvalidField, match="small order"):
                Recipient(public)
            refused += 1
            continue
        private = X25519PrivateKey.from_private_bytes(vector.of("private"))
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        assert shared == vector.of("shared"), vector.label
        assert Recipient(public).key == public
    assert refused >= 5
