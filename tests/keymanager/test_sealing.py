"""Nothing of what was sealed can be changed, moved or read without its key."""

from __future__ import annotations

import dataclasses
import hmac
import json
import random
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from keymanager.errors import SealBroken
from keymanager.sealing import (
    Binding,
    EpochKey,
    MacKey,
    TenantKey,
    WrappedKey,
    _decrypt,
    encode,
    from_microseconds,
    open_value,
    seal_value,
    to_microseconds,
    unwrap_data_key,
    unwrap_tenant_key,
    wrap_data_key,
    wrap_tenant_key,
)
from tests.specs import specs_folder

EPOCH = EpochKey(b"epoch001", bytes(range(32)))
TENANT = TenantKey("tenants/a", 1, EPOCH.epoch, bytes(32))
DATA_KEY = bytes(range(32, 64))

NAMES = st.from_regex(r"secrets/[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)
TENANTS = st.from_regex(r"tenants/[a-z0-9]{1,8}", fullmatch=True)
TIMES = st.integers(0, 2**52)
BINDINGS = st.builds(
    Binding,
    tenant=TENANTS,
    secret_id=st.binary(min_size=16, max_size=16),
    name=NAMES,
    kind=st.integers(1, 10),
    version=st.integers(1, 2**31 - 1),
    create_microseconds=TIMES,
)
VALUES = st.binary(max_size=1_000)
PARTS = st.lists(st.one_of(st.binary(max_size=8), st.text(max_size=8), st.integers()), max_size=4)


def _dice(seed: int = 1) -> random.Random:
    return random.Random(seed)


def _seal(binding: Binding, value: bytes, seed: int = 1) -> bytes:
    return seal_value(DATA_KEY, binding, value, _dice(seed).randbytes)


def _wrap(binding: Binding) -> WrappedKey:
    return wrap_data_key(TENANT, binding, DATA_KEY, _dice().randbytes)


@given(BINDINGS, VALUES)
def test_what_is_sealed_can_be_opened(binding: Binding, value: bytes) -> None:
    assert open_value(DATA_KEY, binding, _seal(binding, value)) == value


@given(BINDINGS)
def test_a_wrapped_key_can_be_unwrapped(binding: Binding) -> None:
    stored = WrappedKey.from_bytes(_wrap(binding).to_bytes(), name="x")
    assert unwrap_data_key(TENANT, binding, stored) == DATA_KEY


@given(BINDINGS, BINDINGS, VALUES)
def test_a_value_fits_only_its_own_version(one: Binding, other: Binding, value: bytes) -> None:
    if one != other:
        with pytest.raises(SealBroken):
            open_value(DATA_KEY, other, _seal(one, value))


@given(BINDINGS, BINDINGS)
def test_a_data_key_fits_only_its_own_version(one: Binding, other: Binding) -> None:
    if one != other:
        with pytest.raises(SealBroken):
            unwrap_data_key(TENANT, other, _wrap(one))


@given(BINDINGS, st.sampled_from(["tenant", "generation", "epoch", "content"]))
def test_a_data_key_fits_only_its_own_tenant_key(binding: Binding, changed: str) -> None:
    wrapped = _wrap(binding)
    other = TenantKey(
        "tenants/b" if changed == "tenant" else "tenants/a",
        2 if changed == "generation" else 1,
        b"epoch002" if changed == "epoch" else EPOCH.epoch,
        b"!" * 32 if changed == "content" else bytes(32),
    )
    if changed == "generation":
        wrapped = dataclasses.replace(wrapped, generation=2)
    moved = dataclasses.replace(binding, tenant=other.tenant)
    if changed == "tenant" and moved == binding:
        return
    with pytest.raises(SealBroken):
        unwrap_data_key(other, moved, wrapped)


def test_a_tenant_key_fits_only_its_own_tenant_and_epoch() -> None:
    wrapped = wrap_tenant_key(EPOCH, "tenants/a", 1, DATA_KEY, _dice().randbytes)
    assert unwrap_tenant_key(EPOCH, "tenants/a", wrapped)
    for epoch, tenant, generation in (
        (EPOCH, "tenants/b", 1),
        (EPOCH, "tenants/a", 2),
        (EpochKey(b"epoch002", bytes(range(32))), "tenants/a", 1),
        (EpochKey(b"epoch001", bytes(32)), "tenants/a", 1),
    ):
        with pytest.raises(SealBroken):
            moved = dataclasses.replace(wrapped, generation=generation)
            unwrap_tenant_key(epoch, tenant, moved)


def test_a_commitment_to_another_key_is_noticed() -> None:
    binding = Binding("tenants/a", bytes(16), "secrets/a", 1, 1, 0)
    wrapped = _wrap(binding)
    other = wrap_data_key(TENANT, binding, bytes(32), _dice(2).randbytes)
    with pytest.raises(SealBroken):
        moved = dataclasses.replace(wrapped, commitment=other.commitment)
        unwrap_data_key(TENANT, binding, moved)


@given(BINDINGS, VALUES)
def test_sealing_the_same_twice_gives_other_bytes(binding: Binding, value: bytes) -> None:
    assert _seal(binding, value, seed=1) != _seal(binding, value, seed=2)


@given(PARTS, PARTS)
def test_other_parts_have_other_bytes(
    one: list[bytes | str | int], two: list[bytes | str | int]
) -> None:
    assert (encode(*one) == encode(*two)) == (one == two)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_as_a_number(time: datetime) -> None:
    assert from_microseconds(to_microseconds(time)) == time


def test_a_wrapped_key_shows_no_bytes_in_its_text() -> None:
    binding = Binding("tenants/a", bytes(16), "secrets/a", 1, 1, 0)
    assert repr(_wrap(binding)) == "WrappedKey(generation=1)"


# --- Vectors that somebody else made -------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "cipher"), [("aes_gcm_test", AESGCM), ("aes_gcm_siv_test", AESGCMSIV)]
)
def test_the_ciphers_pass_wycheproof(file: str, cipher: type[AESGCM | AESGCMSIV]) -> None:
    content = json.loads((specs_folder("wycheproof") / f"{file}.json").read_text())
    wanted = {"ivSize": 96, "keySize": 256, "tagSize": 128}
    groups = [group for group in content["testGroups"] if wanted.items() <= group.items()]
    cases = [case for group in groups for case in group["tests"]]
    assert len(cases) > 50

    wrong = [case for case in cases if not _agrees(case, cipher)]

    assert not wrong


def _agrees(case: dict[str, str], cipher: type[AESGCM | AESGCMSIV]) -> bool:
    key, nonce, bound, message, ciphertext, tag = (
        bytes.fromhex(case[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    is_valid = case["result"] == "valid"
    try:
        opened = _decrypt(cipher(key), nonce + ciphertext + tag, bound, name="secrets/vector")
    except SealBroken:
        return not is_valid
    again = cipher(key).encrypt(nonce, message, bound)
    return is_valid and (opened, again) == (message, ciphertext + tag)


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_a_mac_is_the_hmac_of_the_library(key: bytes, content: bytes) -> None:
    assert MacKey(key).digest(content) == hmac.digest(key, content, "sha256")
