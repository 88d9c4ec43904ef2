"""Signatures and codes are those that anybody can check, each under the prefix of its purpose."""

from __future__ import annotations

import hashlib
import hmac

import coincurve
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.uses.keys import P256Key, load_key, public_key_of
from keymanager.uses.macs import Algorithm, Hmac
from keymanager.uses.signatures import Encoding, SignDigest, SignMessage, sign_p256

from .samples import key_of, perform

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
P256_KEY = ec.EllipticCurvePublicKey.from_encoded_point(
    ec.SECP256R1(), public_key_of(key_of(Kind.P256)).value
)


@given(st.sampled_from(Purpose), st.binary(min_size=1, max_size=100))
def test_ed25519_signs_as_the_services_do(purpose: Purpose, message: bytes) -> None:
    signature = perform(SignMessage(purpose, message), key_of(Kind.ED25519))
    public = Ed25519PublicKey.from_public_bytes(public_key_of(key_of(Kind.ED25519)).value)
    public.verify(signature, f"actionvm/{purpose.value}/v1\n".encode() + message)


@given(st.permutations(list(Purpose)), st.binary(min_size=1, max_size=100))
def test_a_signature_never_passes_for_another_purpose(
    purposes: list[Purpose], message: bytes
) -> None:
    signature = perform(SignMessage(purposes[0], message), key_of(Kind.ED25519))
    public = Ed25519PublicKey.from_public_bytes(public_key_of(key_of(Kind.ED25519)).value)
    with pytest.raises(InvalidSignature):
        public.verify(signature, f"actionvm/{purposes[1].value}/v1\n".encode() + message)


@pytest.mark.parametrize("encoding", Encoding)
def test_p256_signs_the_message_under_its_prefix(encoding: Encoding) -> None:
    operation = SignMessage(Purpose.REQUEST, b"hello", encoding)
    signature = perform(operation, key_of(Kind.P256))
    assert perform(operation, key_of(Kind.P256), seed=2) == signature
    if encoding is Encoding.P1363:
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        signature = encode_dss_signature(r, s)
    P256_KEY.verify(signature, b"actionvm/request/v1\nhello", ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        P256_KEY.verify(signature, b"hello", ec.ECDSA(SHA256()))


def test_p256_signs_the_example_of_rfc_6979_as_printed_there() -> None:
    value = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
    key = load_key(Kind.P256, value)
    assert isinstance(key, P256Key)
    assert sign_p256(key, b"sample", Encoding.P1363).hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_is_signed_recoverably_with_a_low_s(digest: bytes) -> None:
    key = key_of(Kind.SECP256K1)
    signature = perform(SignDigest(digest), key)
    assert int.from_bytes(signature[32:64]) <= HALF_ORDER
    recovered = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    assert recovered.format(compressed=False) == public_key_of(key).value


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_has_32_bytes(size: int) -> None:
    with pytest.raises(InvalidField, match="digest"):
        SignDigest(bytes(size))


@pytest.mark.parametrize("algorithm", Algorithm)
@given(value=st.binary(min_size=16, max_size=200), message=st.binary(min_size=1, max_size=200))
def test_a_code_is_that_of_the_standard_library(
    algorithm: Algorithm, value: bytes, message: bytes
) -> None:
    expected = hmac.new(value, message, getattr(hashlib, algorithm.value)).digest()
    assert perform(Hmac(algorithm, message), load_key(Kind.HMAC, value)) == expected


@pytest.mark.parametrize("size", [0, 64 * 1024 + 1])
def test_a_message_has_a_size(size: int) -> None:
    with pytest.raises(InvalidField, match="message"):
        SignMessage(Purpose.REQUEST, bytes(size))
    with pytest.raises(InvalidField, match="message"):
        Hmac(Algorithm.SHA512, bytes(size))


def test_the_address_of_a_key_is_that_of_ethereum() -> None:
    # The key 1, whose address everybody knows.
    key = load_key(Kind.SECP256K1, (1).to_bytes(32))
    assert public_key_of(key).address == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
