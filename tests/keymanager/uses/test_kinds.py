"""Every kind of key with every operation: served or refused, and never shown."""

from __future__ import annotations

import base64
import importlib
import inspect
import pkgutil
import random
import re
from pathlib import Path

import pytest

from chassis.errors import InvalidField
from keymanager import uses
from keymanager.secret import Kind
from keymanager.uses.keys import LoadedKey, generate, load_key, public_key_of
from keymanager.uses.operation import Operation

from .samples import CANARY, OPERATIONS, VALUES, key_of, perform

PAGE = Path(__file__).resolve().parents[3] / "docs" / "keys.md"

# Written out by hand: what a policy and docs/keys.md say about operations.
SERVED = {
    "basic": {Kind.BASIC},
    "bearer": {Kind.API_KEY},
    "generate-data-key": {Kind.DATA},
    "decrypt": {Kind.DATA},
    "encrypt": {Kind.DATA},
    "farcaster": {Kind.ED25519},
    "hmac": {Kind.HMAC},
    "jwt": {Kind.ED25519, Kind.P256},
    "key-header": {Kind.API_KEY},
    "key-url": {Kind.API_KEY},
    "oauth1": {Kind.OAUTH1},
    "public-key": {Kind.ED25519, Kind.SECP256K1, Kind.P256},
    "release": {Kind.API_KEY, Kind.OAUTH2},
    "rewrap": {Kind.DATA},
    "sign-digest": {Kind.SECP256K1},
    "sign-message": {Kind.ED25519, Kind.P256},
    "sign-personal-message": {Kind.SECP256K1},
    "sign-transaction": {Kind.SECP256K1},
    "sign-typed-data": {Kind.SECP256K1},
    "sigv4": {Kind.AWS},
    "sigv4-presign": {Kind.AWS},
    "smtp": {Kind.BASIC},
    "wallet-jwt": {Kind.P256},
}
GENERATED = (Kind.ED25519, Kind.SECP256K1, Kind.P256, Kind.HMAC, Kind.DATA)
PAIRS = [(operation, kind) for operation in OPERATIONS for kind in Kind]


def _id(value: object) -> str:
    return value.name.lower() if isinstance(value, Kind) else str(getattr(value, "name", value))


@pytest.mark.parametrize(("operation", "kind"), PAIRS, ids=_id)
def test_a_key_does_what_its_kind_is_for_and_nothing_else(
    operation: Operation[object], kind: Kind
) -> None:
    assert (kind in operation.kinds) == (kind in SERVED[operation.name])
    if kind in SERVED[operation.name]:
        assert perform(operation, key_of(kind))
    else:
        with pytest.raises(InvalidField, match="key: is of kind"):
            perform(operation, key_of(kind))


def test_every_operation_that_there_is_has_a_sample() -> None:
    found = {
        str(value.name)  # type: ignore[attr-defined]  # looked for two lines below
        for module in pkgutil.iter_modules(uses.__path__, f"{uses.__name__}.")
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if hasattr(value, "perform") and isinstance(getattr(value, "name", None), str)
    }
    assert found == {operation.name for operation in OPERATIONS} == set(SERVED)


@pytest.mark.parametrize("operation", OPERATIONS, ids=_id)
def test_the_page_about_keys_says_what_an_operation_is(operation: Operation[object]) -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    (row,) = [row for row in rows if f"`{operation.name}`" in row[1]]
    kinds = {kind.name.lower().replace("_", "-") for kind in operation.kinds}
    assert set(row[2].strip().split(", ")) == kinds
    # What stands after a dot is in the payload, and the page says how it is named.
    names = {name.partition(".")[0] for name in operation.facts()}
    assert names <= set(re.findall(r"\w+", row[4]))


@pytest.mark.parametrize("operation", OPERATIONS, ids=_id)
def test_facts_are_plain_values(operation: Operation[object]) -> None:
    facts = operation.facts()
    assert all(isinstance(value, str | int | bool) for value in facts.values())


@pytest.mark.parametrize(("operation", "kind"), PAIRS, ids=_id)
def test_nothing_that_is_printed_shows_a_secret(operation: Operation[object], kind: Kind) -> None:
    key = key_of(kind)
    printed = [repr(key), repr(operation), str(operation.facts())]
    try:
        result = perform(operation, key)
    except InvalidField as refusal:
        printed += [str(refusal), repr(refusal)]
    else:
        # Bytes and texts are the answer itself; it is what a caller prints of a structure.
        printed += [] if isinstance(result, bytes | str) else [repr(result)]
    assert not _leaks("\n".join(printed), kind)


@pytest.mark.parametrize("kind", GENERATED, ids=_id)
def test_no_answer_contains_a_key_that_signs_or_encrypts(kind: Kind) -> None:
    value = VALUES[kind]
    for operation in OPERATIONS:
        if kind in operation.kinds:
            answer = perform(operation, key_of(kind))
            assert value not in str(answer).encode()
            assert not isinstance(answer, bytes) or value not in answer


def _leaks(text: str, kind: Kind) -> bool:
    value = VALUES[kind]
    forms = (CANARY, value.hex(), base64.b64encode(value).decode())
    return any(form in text.lower() for form in (form.lower() for form in forms))


@pytest.mark.parametrize("kind", GENERATED, ids=_id)
def test_what_is_generated_loads(kind: Kind) -> None:
    value = generate(kind, random.Random(1).randbytes)
    assert load_key(kind, value).kind is kind
    assert value != generate(kind, random.Random(2).randbytes)


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(GENERATED)), ids=_id)
def test_what_others_hand_out_cannot_be_generated(kind: Kind) -> None:
    with pytest.raises(InvalidField, match="generate"):
        generate(kind, random.Random(1).randbytes)


def test_a_generated_scalar_is_below_the_order() -> None:
    above_then_fine = iter([b"\xff" * 32, bytes(32), b"\x01" * 32])
    assert generate(Kind.SECP256K1, lambda _: next(above_then_fine)) == b"\x01" * 32


def test_broken_dice_do_not_hang() -> None:
    with pytest.raises(AssertionError, match="broken"):
        generate(Kind.P256, bytes)


@pytest.mark.parametrize("kind", Kind, ids=_id)
def test_keys_that_sign_have_a_public_key(kind: Kind) -> None:
    key: LoadedKey = key_of(kind)
    sizes = {Kind.ED25519: 32, Kind.SECP256K1: 65, Kind.P256: 65}
    if kind in sizes:
        assert len(public_key_of(key).value) == sizes[kind]
    else:
        with pytest.raises(InvalidField, match="no public key"):
            public_key_of(key)
