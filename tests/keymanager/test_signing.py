"""A signature is made only for its purpose, and never passes for another one."""

from __future__ import annotations

import itertools

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from keymanager.errors import PurposeDenied
from keymanager.signing import Purpose, check_purpose, public_key_of, sign
from tests.grpc_fixtures import CALLERS

KEYS = ("keys/bundles", "keys/receipts", "secrets/board-key", "secrets/keys")
# Written out by hand from the contract.
ALLOWED = {
    (Purpose.BUNDLE, "assembler", "keys/bundles"),
    (Purpose.RECEIPT, "runtime", "keys/receipts"),
    (Purpose.REQUEST, "runtime", "secrets/board-key"),
    (Purpose.REQUEST, "runtime", "secrets/keys"),
}

SEEDS = st.binary(min_size=32, max_size=32)
MESSAGES = st.binary(min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("purpose", "caller", "key"), list(itertools.product(Purpose, CALLERS, KEYS))
)
def test_only_what_the_contract_names_is_allowed(purpose: Purpose, caller: str, key: str) -> None:
    try:
        check_purpose(purpose, caller=caller, key=key)
        is_allowed = True
    except PurposeDenied:
        is_allowed = False
    assert is_allowed == ((purpose, caller, key) in ALLOWED)


@given(SEEDS, st.sampled_from(Purpose), MESSAGES)
def test_a_signature_covers_prefix_and_message(
    seed: bytes, purpose: Purpose, message: bytes
) -> None:
    signature = sign("secrets/a", seed, purpose, message)
    signed = b"actionvm/" + purpose.value.encode() + b"/v1\n" + message
    Ed25519PublicKey.from_public_bytes(signature.public_key).verify(signature.value, signed)


@given(SEEDS, st.permutations(list(Purpose)), MESSAGES)
def test_a_signature_never_passes_for_another_purpose(
    seed: bytes, purposes: list[Purpose], message: bytes
) -> None:
    signature = sign("secrets/a", seed, purposes[0], message)
    signed = b"actionvm/" + purposes[1].value.encode() + b"/v1\n" + message
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(signature.public_key).verify(signature.value, signed)


@given(SEEDS, MESSAGES)
def test_a_signature_comes_with_the_public_key_of_its_seed(seed: bytes, message: bytes) -> None:
    assert sign("secrets/a", seed, Purpose.REQUEST, message).public_key == public_key_of(seed)


def test_the_first_vector_of_rfc_8032_gives_its_public_key() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert public_key_of(seed).hex() == public_key
