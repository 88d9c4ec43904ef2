"""What users have is brought into one form, and what is wrong is refused without repeating it."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.values import accept, check_value, normalise

from .samples import VALUES

SEED = bytes(range(1, 33))
PKCS8, SEC1 = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
CURVES = {Kind.P256: ec.SECP256R1(), Kind.SECP256K1: ec.SECP256K1()}
SIGNING = (Kind.ED25519, Kind.SECP256K1, Kind.P256)


def _private(kind: Kind) -> Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
    if kind is Kind.ED25519:
        return Ed25519PrivateKey.from_private_bytes(SEED)
    return ec.derive_private_key(int.from_bytes(SEED), CURVES[kind])


def _document(
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PKCS8,
) -> bytes:
    return key.private_bytes(encoding, form, NoEncryption())


def _coinbase(seed: bytes, public: bytes) -> bytes:
    return base64.b64encode(seed + public)


PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()


@pytest.mark.parametrize("kind", SIGNING)
@pytest.mark.parametrize(
    "form",
    [
        SEED,
        SEED.hex().encode(),
        SEED.hex().upper().encode(),
        b"0x" + SEED.hex().encode(),
        SEED.hex().encode() + b"\n",
    ],
    ids=["raw", "hex", "upper", "0x", "line feed"],
)
def test_bytes_and_digits_are_one_key(kind: Kind, form: bytes) -> None:
    assert normalise(kind, form) == SEED


@pytest.mark.parametrize("kind", SIGNING)
def test_documents_are_the_same_key(kind: Kind) -> None:
    key = _private(kind)
    pem = _document(key)
    assert normalise(kind, pem) == SEED
    assert normalise(kind, pem.strip().replace(b"\n", b"\\n")) == SEED
    assert normalise(kind, base64.b64encode(_document(key, Encoding.DER))) == SEED
    if kind is not Kind.ED25519:
        assert normalise(kind, _document(key, form=SEC1)) == SEED


def test_a_key_of_coinbase_is_its_seed() -> None:
    assert normalise(Kind.ED25519, _coinbase(SEED, PUBLIC)) == SEED


def test_a_key_of_coinbase_must_belong_to_its_public_half() -> None:
    with pytest.raises(InvalidField, match="does not belong"):
        normalise(Kind.ED25519, _coinbase(SEED, bytes(32)))


@pytest.mark.parametrize("kind", SIGNING)
@pytest.mark.parametrize("other", SIGNING)
def test_a_document_of_another_kind_is_refused(kind: Kind, other: Kind) -> None:
    if kind is not other:
        with pytest.raises(InvalidField, match="another kind"):
            normalise(kind, _document(_private(other)))


def test_an_encrypted_document_says_so() -> None:
    key = _private(Kind.P256)
    pem = key.private_bytes(Encoding.PEM, PKCS8, BestAvailableEncryption(b"password"))
    with pytest.raises(InvalidField, match="encrypted"):
        normalise(Kind.P256, pem)


@pytest.mark.parametrize("kind", [Kind.SECP256K1, Kind.P256])
@pytest.mark.parametrize("value", [bytes(32), b"\xff" * 32], ids=["zero", "above"])
def test_a_scalar_is_within_the_group(kind: Kind, value: bytes) -> None:
    with pytest.raises(InvalidField, match="order"):
        normalise(kind, value)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *((kind, size) for kind in (*SIGNING, Kind.DATA) for size in (0, 31, 33, 63, 65)),
        (Kind.HMAC, 15),
        (Kind.HMAC, 513),
        (Kind.API_KEY, 0),
        (Kind.API_KEY, 64 * 1024 + 1),
    ],
)
def test_a_wrong_size_is_refused(kind: Kind, size: int) -> None:
    with pytest.raises(InvalidField, match="value"):
        check_value(kind, b"\xa7" * size)


BAD_STRUCTURES = [
    (Kind.BASIC, b"canary"),
    (Kind.BASIC, b'"canary"'),
    (Kind.BASIC, b"[]"),
    (Kind.BASIC, b"{}"),
    (Kind.BASIC, b'{"username":"canary"}'),
    (Kind.BASIC, b'{"username":"canary","password":1}'),
    (Kind.BASIC, b'{"username":"canary","password":null}'),
    (Kind.BASIC, b'{"username":"canary","password":""}'),
    (Kind.BASIC, b'{"username":"can:ary","password":"p"}'),
    (Kind.BASIC, b'{"username":"canary","password":"p\\n"}'),
    (Kind.BASIC, b'{"username":"canary","password":"\\ud800"}'),
    (Kind.BASIC, b'{"username":"u","password":"canary","canary":""}'),
    (Kind.BASIC, b'{"username":"u","username":"canary","password":"p"}'),
    (Kind.BASIC, b'{"username":"u","password":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    (Kind.BASIC, b'{"username":"u","password":' + b"9" * 5_000 + b"}"),
    (Kind.OAUTH1, b'{"consumer_key":"canary","consumer_secret":"b","token":"c"}'),
    (Kind.OAUTH2, b'{"access_token":"can ary"}'),
    (Kind.OAUTH2, b'{"access_token":"canary","expire_time":"2026-13-01T00:00:00Z"}'),
    (Kind.OAUTH2, b'{"access_token":"canary","token_url":"http://example.com/canary"}'),
    (Kind.OAUTH2, b'{"access_token":"canary","refresh_token":null}'),
    (Kind.AWS, b'{"access_key_id":"canary","secret_access_key":"b"}'),
    (Kind.AWS, b'{"access_key_id":"AKIACANARY123456","secret_access_key":"b","region":"EU"}'),
]


@pytest.mark.parametrize(("kind", "value"), BAD_STRUCTURES)
def test_a_malformed_structure_is_refused_and_not_repeated(kind: Kind, value: bytes) -> None:
    with pytest.raises(InvalidField) as refusal:
        check_value(kind, value)
    assert refusal.value.field == "value"
    assert "canary" not in str(refusal.value).lower()
    assert refusal.value.__cause__ is None


def test_a_structure_is_stored_in_one_form() -> None:
    loose = b' { "password" : "p\\u00e4ss", "username": "u" } '
    assert normalise(Kind.BASIC, loose) == '{"password":"päss","username":"u"}'.encode()


@pytest.mark.parametrize("kind", Kind)
def test_what_is_stored_stays_as_it_is(kind: Kind) -> None:
    stored = normalise(kind, VALUES[kind])
    assert normalise(kind, stored) == stored


@pytest.mark.parametrize("kind", Kind)
@given(value=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_value_or_refused(kind: Kind, value: bytes) -> None:
    try:
        stored = normalise(kind, value)
    except InvalidField as refusal:
        assert refusal.field == "value"
    else:
        assert normalise(kind, stored) == stored


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    )
)
def test_any_json_is_a_value_or_refused(content: object) -> None:
    for kind in (Kind.OAUTH1, Kind.OAUTH2, Kind.BASIC, Kind.AWS):
        with pytest.raises(InvalidField, match="value"):
            check_value(kind, json.dumps(content).encode())


def test_a_document_of_a_foreign_algorithm_is_refused() -> None:
    key: PrivateKeyTypes = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(Encoding.PEM, PKCS8, NoEncryption())
    with pytest.raises(InvalidField, match="another kind"):
        normalise(Kind.P256, pem)


@pytest.mark.parametrize("value", [b"sk-1\n", b"\x00", b"\xff", b"sk 1 "])
def test_an_api_key_that_an_earlier_release_took_is_still_read(value: bytes) -> None:
    with pytest.raises(InvalidField):
        accept(Kind.API_KEY, value)
    assert normalise(Kind.API_KEY, value) == value


def test_an_api_key_is_one_line_of_text() -> None:
    assert accept(Kind.API_KEY, b"sk 1-~!") == b"sk 1-~!"
