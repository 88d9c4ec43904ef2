"""Nothing of a sealed row can be changed, moved or read without the root key."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keymanager.errors import SealBroken
from keymanager.sealing import (
    RootKey,
    SealedSecret,
    _decrypt,
    _encrypt,
    authenticate,
    from_microseconds,
    length_prefixed,
    seal,
    to_microseconds,
    unseal,
)
from keymanager.secret import Kind, Secret
from tests.keymanager.vaults import ROOT_KEY, Bench, Cell

WYCHEPROOF = Path(__file__).resolve().parents[3] / "shared/specs/wycheproof/aes_gcm_test.json"

ROOT = RootKey(ROOT_KEY)
NAMES = st.from_regex(r"secrets/[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)
TIMES = st.datetimes(timezones=st.just(UTC))
SECRETS = st.builds(Secret, NAMES, st.sampled_from(Kind), st.integers(1, 2**31 - 1), TIMES, TIMES)
VALUES = st.binary(max_size=1_000)


def _sealed(secret: Secret, value: bytes, seed: int = 1) -> SealedSecret:
    return seal(ROOT, secret, value, random.Random(seed).randbytes)


@given(SECRETS, VALUES)
def test_what_is_sealed_can_be_unsealed(secret: Secret, value: bytes) -> None:
    assert unseal(ROOT, _sealed(secret, value)) == value


@given(SECRETS, VALUES)
def test_what_is_known_about_a_secret_can_be_checked_without_its_value(
    secret: Secret, value: bytes
) -> None:
    hollow = dataclasses.replace(_sealed(secret, value), ciphertext=b"")
    assert authenticate(ROOT, hollow) == secret


@given(SECRETS, VALUES, st.binary(min_size=32, max_size=32).filter(lambda key: key != ROOT_KEY))
def test_another_root_key_opens_nothing(secret: Secret, value: bytes, other: bytes) -> None:
    with pytest.raises(SealBroken):
        unseal(RootKey(other), _sealed(secret, value))


@given(SECRETS, SECRETS, VALUES)
def test_a_seal_fits_only_its_own_secret(secret: Secret, other: Secret, value: bytes) -> None:
    moved = dataclasses.replace(_sealed(secret, value), secret=other)
    if secret == other:
        assert unseal(ROOT, moved) == value
    else:
        with pytest.raises(SealBroken):
            authenticate(ROOT, moved)


@given(SECRETS, VALUES, st.data())
def test_a_seal_that_was_cut_is_broken(secret: Secret, value: bytes, data: st.DataObject) -> None:
    sealed = _sealed(secret, value)
    column = data.draw(st.sampled_from(["wrapped_key", "ciphertext"]))
    whole = getattr(sealed, column)
    kept = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(SealBroken):
        unseal(ROOT, dataclasses.replace(sealed, **{column: whole[:kept]}))


@given(SECRETS, VALUES)
def test_sealing_the_same_twice_gives_other_bytes(secret: Secret, value: bytes) -> None:
    one, two = _sealed(secret, value, seed=1), _sealed(secret, value, seed=2)
    assert (one.wrapped_key, one.ciphertext) != (two.wrapped_key, two.ciphertext)


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_other_parts_have_other_bytes(one: list[bytes], two: list[bytes]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*two)) == (one == two)


@given(TIMES)
def test_a_time_survives_as_a_number(time: datetime) -> None:
    assert from_microseconds(to_microseconds(time)) == time


def test_a_sealed_secret_shows_no_bytes_in_its_text() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    sealed = _sealed(Secret("secrets/a", Kind.API_KEY, 1, now, now), b"value")
    assert "key=" not in repr(sealed)


# --- Rows in the hands of somebody else ---------------------------------------------------------


def _flips(cell: Cell) -> Iterator[Cell]:
    """Yield the cell with each of its bits flipped, as long as SQLite can read it."""
    if isinstance(cell, int):
        # The sign bit included.
        yield from ((cell ^ (1 << bit)) - (1 << 64 if bit == 63 else 0) for bit in range(64))
    elif isinstance(cell, str):
        for index, bit in itertools.product(range(len(cell)), range(7)):
            yield cell[:index] + chr(ord(cell[index]) ^ (1 << bit)) + cell[index + 1 :]
    else:
        for index, bit in itertools.product(range(len(cell)), range(8)):
            yield cell[:index] + bytes([cell[index] ^ (1 << bit)]) + cell[index + 1 :]


@pytest.mark.parametrize("column", ["name", "kind", "version", "wrapped_key", "ciphertext"])
def test_no_flipped_bit_of_a_stored_row_is_accepted(column: str) -> None:
    _assert_no_flip_is_accepted(column)


@pytest.mark.parametrize("column", ["create_microseconds", "rotate_microseconds"])
def test_no_flipped_bit_of_a_stored_time_is_accepted(column: str) -> None:
    _assert_no_flip_is_accepted(column)


def _assert_no_flip_is_accepted(column: str) -> None:
    bench = Bench()
    bench.vault.put("r1", "secrets/a", Kind.ED25519, b"", generate=True)
    for cell in _flips(bench.cells("secrets/a")[column]):
        with bench.tampered("secrets/a", **{column: cell}) as name, pytest.raises(SealBroken):
            bench.vault.public_key(name)
    assert bench.vault.public_key("secrets/a")


@pytest.mark.parametrize(
    "columns", [("wrapped_key",), ("ciphertext",), ("wrapped_key", "ciphertext")]
)
def test_no_two_rows_can_be_swapped(columns: tuple[str, ...]) -> None:
    bench = Bench()
    names = [f"secrets/{letter}" for letter in "abcd"]
    for name in names:
        bench.vault.put(f"put-{name}", name, Kind.ED25519, b"", generate=True)
    for one, two in itertools.combinations([*names, "keys/bundles", "keys/receipts"], 2):
        cells_of_one, cells_of_two = bench.cells(one), bench.cells(two)
        with (
            bench.tampered(one, **{column: cells_of_two[column] for column in columns}),
            bench.tampered(two, **{column: cells_of_one[column] for column in columns}),
        ):
            for name in (one, two):
                with pytest.raises(SealBroken):
                    bench.vault.public_key(name)


def test_an_old_version_cannot_be_put_back_as_the_present_one() -> None:
    bench = Bench()
    bench.vault.put("r1", "secrets/a", Kind.ED25519, b"", generate=True)
    old = bench.cells("secrets/a")
    bench.vault.rotate("r2", "secrets/a", b"", generate=True)
    bench.write("secrets/a", wrapped_key=old["wrapped_key"], ciphertext=old["ciphertext"])

    with pytest.raises(SealBroken):
        bench.vault.public_key("secrets/a")


# --- Vectors that somebody else made -------------------------------------------------------------


def test_the_cipher_passes_wycheproof() -> None:
    if not WYCHEPROOF.exists():
        pytest.skip("the Wycheproof vectors are not beside this checkout")
    wanted = {"ivSize": 96, "keySize": 256, "tagSize": 128}
    groups = json.loads(WYCHEPROOF.read_text())["testGroups"]
    cases = [case for group in groups if wanted.items() <= group.items() for case in group["tests"]]
    assert len(cases) > 50

    wrong = [case for case in cases if not _agrees(case)]

    assert not wrong


def _agrees(case: dict[str, str]) -> bool:
    key, nonce, bound, message, ciphertext, tag = (
        bytes.fromhex(case[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    is_valid = case["result"] == "valid"
    sealed = nonce + ciphertext + tag
    try:
        opened = _decrypt(AESGCM(key), sealed, bound, name="secrets/vector")
    except SealBroken:
        return not is_valid
    again = _encrypt(AESGCM(key), message, bound, nonce)
    return is_valid and (opened, again) == (message, sealed)
