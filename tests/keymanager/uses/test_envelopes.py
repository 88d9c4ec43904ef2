"""What was encrypted opens for the recipient, in its context, and not after any change."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.envelopes import Decrypt, Encrypt, GenerateDataKey, Rewrap
from keymanager.uses.handover import SUITE, Recipient, Release, sealing_info
from keymanager.uses.keys import DataKey, load_key

from .samples import CIPHERTEXT, RECIPIENT, RECIPIENT_KEY, VALUES, key_of, perform

CONTEXT = "collections/brand"
OTHER = X25519PrivateKey.from_private_bytes(b"\x07" * 32)


def data_key(version: int) -> DataKey:
    """Return one version of a key."""
    key = load_key(Kind.DATA, bytes([version]) * 32, version=version)
    assert isinstance(key, DataKey)
    return key


def opened(sealed: bytes, operation: str, binding: str) -> bytes:
    """Return a sealed value as its recipient sees it."""
    return SUITE.decrypt(sealed, RECIPIENT, sealing_info(operation, binding))


@given(plaintext=st.binary(min_size=1, max_size=200), seed=st.integers(0, 99))
def test_what_was_encrypted_opens_for_the_recipient(plaintext: bytes, seed: int) -> None:
    ciphertext = perform(Encrypt(CONTEXT, plaintext), data_key(1), seed=seed)
    sealed = perform(Decrypt(CONTEXT, ciphertext, RECIPIENT_KEY), data_key(1))
    assert opened(sealed, "decrypt", CONTEXT) == plaintext
    # What comes before it is the same for everybody, and so short that it may be a plaintext.
    assert plaintext not in ciphertext[20:] or len(plaintext) < 4


def test_the_header_has_magic_version_and_nonce() -> None:
    dice = random.Random(1)
    ciphertext = perform(Encrypt(CONTEXT, b"hello"), data_key(3))
    assert ciphertext[:20] == b"AVM1" + b"\0\0\0\3" + dice.randbytes(12)
    assert len(ciphertext) == 20 + 5 + 16


def test_the_context_is_in_the_key_and_in_what_is_authenticated() -> None:
    info = b"actionvm/keymanager/data/v1\n" + CONTEXT.encode()
    key = HKDF(SHA256(), 32, None, info).derive(VALUES[Kind.DATA])
    header, content = CIPHERTEXT[:20], CIPHERTEXT[20:]
    assert AESGCM(key).decrypt(header[8:], content, header + CONTEXT.encode()) == b"hello"


@pytest.mark.parametrize("context", ["collections/brands", "collections/bran", "Collections/brand"])
def test_another_context_does_not_open_it(context: str) -> None:
    with pytest.raises(InvalidField, match="ciphertext: does not open"):
        perform(Decrypt(context, CIPHERTEXT, RECIPIENT_KEY), key_of(Kind.DATA))


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(InvalidField, match="ciphertext: does not open"):
        perform(Decrypt(CONTEXT, CIPHERTEXT, RECIPIENT_KEY), data_key(1))


def test_no_flipped_bit_is_accepted() -> None:
    key = key_of(Kind.DATA)
    for bit in range(len(CIPHERTEXT) * 8):
        mutated = bytearray(CIPHERTEXT)
        mutated[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidField, match="ciphertext"):
            perform(Rewrap(CONTEXT, bytes(mutated)), key)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidField, match="ciphertext"):
        perform(Rewrap(CONTEXT, content), key_of(Kind.DATA))
    with pytest.raises(InvalidField, match="ciphertext"):
        perform(Rewrap(CONTEXT, CIPHERTEXT[:20] + content), key_of(Kind.DATA))


def test_a_rewrapped_value_is_under_the_newest_version() -> None:
    old = perform(Encrypt(CONTEXT, b"hello"), data_key(1))
    both = data_key(2).joined(data_key(1))
    new = perform(Rewrap(CONTEXT, old), both)
    assert Decrypt(CONTEXT, new, RECIPIENT_KEY).key_version == 2
    sealed = perform(Decrypt(CONTEXT, new, RECIPIENT_KEY), data_key(2))
    assert opened(sealed, "decrypt", CONTEXT) == b"hello"


def test_a_version_that_is_gone_is_named() -> None:
    old = perform(Encrypt(CONTEXT, b"hello"), data_key(1))
    assert Rewrap(CONTEXT, old).facts() == {"context": CONTEXT, "key_version": 1}
    with pytest.raises(InvalidField, match="version 1 of the key, which is gone"):
        perform(Rewrap(CONTEXT, old), data_key(2))


def test_a_data_key_comes_twice() -> None:
    made = perform(GenerateDataKey(CONTEXT, RECIPIENT_KEY), data_key(1))
    now = opened(made.sealed_key, "generate-data-key", CONTEXT)
    sealed = perform(Decrypt(CONTEXT, made.wrapped_key, RECIPIENT_KEY), data_key(1))
    assert len(now) == 32
    assert opened(sealed, "decrypt", CONTEXT) == now


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.API_KEY, VALUES[Kind.API_KEY]), (Kind.OAUTH2, b"canary-at")]
)
def test_a_bearer_value_is_released_to_its_recipient(kind: Kind, value: bytes) -> None:
    sealed = perform(Release("models/openai", RECIPIENT_KEY), key_of(kind))
    assert opened(sealed, "release", "models/openai") == value
    assert value not in sealed


@pytest.mark.parametrize(
    ("recipient", "operation", "binding"),
    [
        (OTHER, "release", "models/openai"),
        (RECIPIENT, "decrypt", "models/openai"),
        (RECIPIENT, "release", "models/anthropic"),
    ],
    ids=["another recipient", "another operation", "another purpose"],
)
def test_a_released_value_opens_for_nothing_else(
    recipient: X25519PrivateKey, operation: str, binding: str
) -> None:
    sealed = perform(Release("models/openai", RECIPIENT_KEY), key_of(Kind.API_KEY))
    with pytest.raises(InvalidTag):
        SUITE.decrypt(sealed, recipient, sealing_info(operation, binding))


def test_what_a_value_is_sealed_for_is_written_as_documented() -> None:
    assert sealing_info("release", "models/openai") == b"actionvm/hpke/release/v1\nmodels/openai"


def test_a_recipient_is_known_by_its_fingerprint() -> None:
    facts = Release("models/openai", RECIPIENT_KEY).facts()
    assert facts == {"purpose": "models/openai", "recipient": Recipient(RECIPIENT_KEY).fingerprint}


@pytest.mark.parametrize(
    "key",
    [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"],
    ids=["empty", "short", "long", "zero", "one", "minus one"],
)
def test_a_key_with_which_everybody_could_read_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidField) as refusal:
        Release("models/openai", key)
    assert refusal.value.field == "recipient_key"


@pytest.mark.parametrize("context", ["", "a b", "a\nb", "\u00e9", "a" * 257])
def test_a_context_is_one_printable_word(context: str) -> None:
    with pytest.raises(InvalidField, match="context"):
        Encrypt(context, b"hello")
    with pytest.raises(InvalidField, match="purpose"):
        Release(context, RECIPIENT_KEY)


@pytest.mark.parametrize("size", [0, 64 * 1024 + 1])
def test_a_value_has_a_size(size: int) -> None:
    with pytest.raises(InvalidField, match="plaintext"):
        Encrypt(CONTEXT, bytes(size))
    with pytest.raises(InvalidField, match="ciphertext"):
        Rewrap(CONTEXT, b"AVM1\0\0\0\1" + bytes(size + 64 * size))


def test_the_largest_value_comes_back() -> None:
    ciphertext = perform(Encrypt(CONTEXT, bytes(64 * 1024)), data_key(1))
    assert len(perform(Rewrap(CONTEXT, ciphertext), data_key(1))) == len(ciphertext)
