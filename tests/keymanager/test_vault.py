"""A secret lives as the contract says, and a repeated request is the same request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chassis.errors import InvalidField, RequestIdReused
from keymanager.errors import (
    KindUnsuitable,
    PurposeDenied,
    SealBroken,
    SecretExists,
    SecretNotFound,
)
from keymanager.sealing import RootKey, unseal
from keymanager.secret import Kind
from keymanager.signing import Purpose, public_key_of
from keymanager.store import SecretStore
from keymanager.vault import Vault
from tests.keymanager.vaults import Bench

SEED = bytes(range(32, 64))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_new_secret_has_version_1(bench: Bench) -> None:
    assert bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False).version == 1


def test_a_secret_that_was_put_signs(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    signature = bench.vault.sign("secrets/a", Purpose.REQUEST, b"m", caller="runtime")
    assert signature.public_key == public_key_of(SEED)


def test_a_name_that_is_taken_is_not_overwritten(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    with pytest.raises(SecretExists):
        bench.vault.put("r2", "secrets/a", Kind.ED25519, bytes(32), generate=False)
    assert bench.vault.public_key("secrets/a") == public_key_of(SEED)


def test_two_generated_secrets_differ(bench: Bench) -> None:
    for name in ("secrets/a", "secrets/b"):
        bench.vault.put(name, name, Kind.ED25519, b"", generate=True)
    assert bench.vault.public_key("secrets/a") != bench.vault.public_key("secrets/b")


def test_a_repeated_put_gives_the_first_answer_even_after_a_rotation(bench: Bench) -> None:
    first = bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.clock.advance(timedelta(hours=1))
    bench.vault.rotate("r2", "secrets/a", b"w", generate=False)
    assert bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False) == first


def test_a_repeated_put_keeps_the_first_generated_value(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, b"", generate=True)
    public_key = bench.vault.public_key("secrets/a")
    bench.vault.put("r1", "secrets/a", Kind.ED25519, b"", generate=True)
    assert bench.vault.public_key("secrets/a") == public_key


@pytest.mark.parametrize(
    ("name", "kind", "value", "generate"),
    [
        ("secrets/b", Kind.ED25519, SEED, False),
        ("secrets/a", Kind.API_KEY, SEED, False),
        ("secrets/a", Kind.ED25519, bytes(32), False),
        ("secrets/a", Kind.ED25519, b"", True),
    ],
)
def test_a_request_id_with_other_content_is_refused(
    bench: Bench, name: str, kind: Kind, value: bytes, *, generate: bool
) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    with pytest.raises(RequestIdReused):
        bench.vault.put("r1", name, kind, value, generate=generate)


def test_a_request_id_of_a_put_is_refused_for_a_rotation(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    with pytest.raises(RequestIdReused):
        bench.vault.rotate("r1", "secrets/a", SEED, generate=False)


def test_a_rotation_keeps_when_the_secret_was_made(bench: Bench) -> None:
    first = bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.clock.advance(timedelta(hours=1))
    second = bench.vault.rotate("r2", "secrets/a", b"w", generate=False)
    assert (second.version, second.create_time, second.rotate_time) == (
        2,
        first.create_time,
        first.create_time + timedelta(hours=1),
    )


def test_a_rotated_secret_has_its_new_value(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"old", generate=False)
    bench.vault.rotate("r2", "secrets/a", b"new", generate=False)
    assert unseal(bench.root, bench.store.get("secrets/a")) == b"new"


def test_a_repeated_rotation_rotates_once(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    answers = [bench.vault.rotate("r2", "secrets/a", b"", generate=True) for _ in range(2)]
    assert [answer.version for answer in answers] == [2, 2]


def test_a_row_that_was_changed_gets_no_new_seal(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, SEED, generate=False)
    bench.write("secrets/a", kind=int(Kind.ED25519))
    with pytest.raises(SealBroken):
        bench.vault.rotate("r2", "secrets/a", b"", generate=True)


def test_a_shredded_secret_is_unknown(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.vault.shred("secrets/a")
    with pytest.raises(SecretNotFound):
        bench.vault.describe("secrets/a")


def test_a_row_that_was_changed_can_be_shredded(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.write("secrets/a", kind=77)
    bench.vault.shred("secrets/a")
    with pytest.raises(SecretNotFound):
        bench.vault.describe("secrets/a")


def test_a_late_repeat_does_not_bring_a_shredded_secret_back(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.vault.shred("secrets/a")
    with pytest.raises(RequestIdReused):
        bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)


def test_a_shredded_name_can_be_put_again(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.vault.shred("secrets/a")
    assert bench.vault.put("r2", "secrets/a", Kind.API_KEY, b"w", generate=False).version == 1


def test_a_list_goes_on_where_it_stopped(bench: Bench) -> None:
    names = [f"secrets/{letter}" for letter in "abcde"]
    for name in reversed(names):
        bench.vault.put(name, name, Kind.API_KEY, b"v", generate=False)
    listed = bench.vault.describe_all(after="secrets/b", limit=2)
    assert [secret.name for secret in listed] == names[2:4]


def test_no_list_shows_the_keys_of_the_services(bench: Bench) -> None:
    assert not bench.vault.describe_all(after="", limit=10)


def test_a_list_refuses_a_row_that_was_changed(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, b"v", generate=False)
    bench.write("secrets/a", version=7)
    with pytest.raises(SealBroken):
        bench.vault.describe_all(after="", limit=10)


@pytest.mark.parametrize("size", [1, 31, 33, 64])
def test_a_seed_of_another_size_is_refused(bench: Bench, size: int) -> None:
    with pytest.raises(InvalidField, match="32"):
        bench.vault.put("r1", "secrets/a", Kind.ED25519, bytes(size), generate=False)


@pytest.mark.parametrize(
    ("kind", "value", "generate", "field"),
    [
        (Kind.API_KEY, b"", False, "value"),
        (Kind.ED25519, b"", False, "value"),
        (Kind.API_KEY, b"", True, "generate"),
        (Kind.ED25519, SEED, True, "value"),
    ],
)
def test_a_put_without_one_clear_value_is_refused(
    bench: Bench, kind: Kind, value: bytes, field: str, *, generate: bool
) -> None:
    with pytest.raises(InvalidField) as caught:
        bench.vault.put("r1", "secrets/a", kind, value, generate=generate)
    assert caught.value.field == field


def test_a_rotation_knows_what_kind_it_rotates(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    with pytest.raises(InvalidField, match="32"):
        bench.vault.rotate("r2", "secrets/a", b"short", generate=False)


def test_a_refused_rotation_changes_nothing(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    with pytest.raises(InvalidField):
        bench.vault.rotate("r2", "secrets/a", b"short", generate=False)
    assert bench.vault.public_key("secrets/a") == public_key_of(SEED)


def test_a_bearer_key_does_not_sign(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.API_KEY, SEED, generate=False)
    with pytest.raises(KindUnsuitable):
        bench.vault.sign("secrets/a", Purpose.REQUEST, b"m", caller="runtime")


def test_a_denied_caller_does_not_learn_whether_a_secret_exists(bench: Bench) -> None:
    bench.vault.put("r1", "secrets/a", Kind.ED25519, SEED, generate=False)
    answers = []
    for name in ("secrets/a", "secrets/b"):
        with pytest.raises(PurposeDenied) as caught:
            bench.vault.sign(name, Purpose.REQUEST, b"m", caller="assembler")
        answers.append(str(caught.value).replace(name, "?"))
    assert answers[0] == answers[1]


def test_the_keys_of_the_services_stay_the_same_at_the_next_start(bench: Bench) -> None:
    public_key = bench.vault.public_key("keys/bundles")
    again = Vault(
        SecretStore(bench.engine), bench.root, clock=bench.clock, random_bytes=lambda n: b"!" * n
    )
    again.ensure_service_keys()
    assert again.public_key("keys/bundles") == public_key


def test_a_start_with_another_root_key_is_noticed(bench: Bench) -> None:
    other = Vault(
        bench.store, RootKey(b"!" * 32), clock=bench.clock, random_bytes=lambda n: b"!" * n
    )
    with pytest.raises(SealBroken):
        other.ensure_service_keys()
