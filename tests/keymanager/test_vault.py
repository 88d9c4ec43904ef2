"""A secret lives as the contract says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from chassis.errors import InvalidField
from keymanager.batch import Batch
from keymanager.errors import (
    KindUnsuitable,
    SealBroken,
    SecretDisabled,
    SecretExists,
    SecretNotFound,
    TenantNotFound,
    UseDenied,
    VersionInUse,
    VersionNotFound,
)
from keymanager.journal import Asker, Entry
from keymanager.lifecycle import SetState
from keymanager.secret import Kind, Secret, State
from keymanager.signing import Purpose
from keymanager.uses.signatures import SignMessage
from tests.keymanager.vaults import OPERATOR, RUNTIME, Bench, public_key_of, sign

SEED = bytes(range(33, 65))
REQUESTS = Asker("runtime", purpose="request")


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def put(
    bench: Bench,
    request_id: str,
    name: str = "secrets/a",
    kind: Kind = Kind.ED25519,
    value: bytes = SEED,
    *,
    generate: bool = False,
) -> Secret:
    return await bench.vault.put(request_id, name, kind, value, generate=generate, by=OPERATOR)


async def rotate(
    bench: Bench, request_id: str, value: bytes = b"", *, grace: timedelta = timedelta()
) -> Secret:
    return await bench.vault.rotate(
        request_id, "secrets/a", value, generate=not value, by=OPERATOR, grace=grace
    )


async def public_key(bench: Bench, name: str = "secrets/a") -> bytes:
    return (await bench.vault.public_key(name)).value


async def sign_with(bench: Bench, version: int = 0) -> bytes:
    operation = SignMessage(Purpose.REQUEST, b"m")
    return await bench.vault.use(
        "secrets/a", operation, method="Sign", by=REQUESTS, version=version
    )


# --- Put -----------------------------------------------------------------------------------------


async def test_a_new_secret_has_version_1(bench: Bench) -> None:
    assert (await put(bench, "r1")).version == 1


async def test_a_secret_that_was_put_signs(bench: Bench) -> None:
    await put(bench, "r1")
    signature = await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=RUNTIME)
    assert signature.public_key is not None
    assert signature.public_key.value == public_key_of(SEED)


async def test_a_name_that_is_taken_is_not_overwritten(bench: Bench) -> None:
    await put(bench, "r1")
    with pytest.raises(SecretExists):
        await put(bench, "r2", value=bytes(32))
    assert await public_key(bench) == public_key_of(SEED)


async def test_two_generated_secrets_differ(bench: Bench) -> None:
    await bench.put("secrets/a")
    await bench.put("secrets/b")
    assert await public_key(bench) != await public_key(bench, "secrets/b")


@pytest.mark.parametrize(
    ("kind", "value", "generate", "field"),
    [
        (Kind.API_KEY, b"", False, "value"),
        (Kind.ED25519, b"", False, "value"),
        (Kind.ED25519, b"short", False, "value"),
        (Kind.API_KEY, b"", True, "generate"),
        (Kind.ED25519, SEED, True, "value"),
    ],
)
async def test_a_put_without_one_clear_value_is_refused(
    bench: Bench, kind: Kind, value: bytes, field: str, *, generate: bool
) -> None:
    with pytest.raises(InvalidField) as caught:
        await put(bench, "r1", "secrets/a", kind, value, generate=generate)
    assert caught.value.field == field


# --- Versions ------------------------------------------------------------------------------------


async def test_a_rotation_keeps_when_the_secret_was_made(bench: Bench) -> None:
    first = await put(bench, "r1")
    bench.clock.advance(timedelta(hours=1))
    second = await rotate(bench, "r2")
    assert (second.version, second.create_time, second.rotate_time) == (
        2,
        first.create_time,
        first.create_time + timedelta(hours=1),
    )


async def test_a_rotated_secret_has_its_new_value(bench: Bench) -> None:
    await put(bench, "r1", value=bytes(32))
    await rotate(bench, "r2", SEED)
    assert await public_key(bench) == public_key_of(SEED)


async def test_a_refused_rotation_changes_nothing(bench: Bench) -> None:
    await put(bench, "r1")
    with pytest.raises(InvalidField):
        await rotate(bench, "r2", b"short")
    assert await public_key(bench) == public_key_of(SEED)


async def test_the_version_before_signs_during_its_grace_time(bench: Bench) -> None:
    await put(bench, "r1")
    before = await sign_with(bench)
    await rotate(bench, "r2", grace=timedelta(hours=1))
    bench.clock.advance(timedelta(minutes=59))
    assert (await sign_with(bench, version=1), await sign_with(bench) == before) == (before, False)


@pytest.mark.parametrize("was_used", [False, True])
async def test_the_version_before_is_gone_after_its_grace_time(
    bench: Bench, *, was_used: bool
) -> None:
    await put(bench, "r1")
    await rotate(bench, "r2", grace=timedelta(hours=1))
    if was_used:
        # Then it is among the keys that are kept open.
        await sign_with(bench, version=1)
    bench.clock.advance(timedelta(hours=1))
    with pytest.raises(VersionNotFound):
        await sign_with(bench, version=1)


async def test_what_a_grace_time_kept_is_destroyed_when_it_is_over(bench: Bench) -> None:
    await put(bench, "r1")
    await rotate(bench, "r2", grace=timedelta(hours=1))
    bench.clock.advance(timedelta(hours=1))
    await bench.vault.tend()
    assert [one.number for one in bench.vault.describe("secrets/a").versions] == [2]


async def test_without_a_grace_time_the_version_before_is_gone(bench: Bench) -> None:
    await put(bench, "r1")
    await rotate(bench, "r2")
    with pytest.raises(VersionNotFound):
        await sign_with(bench, version=1)


async def test_an_old_version_can_be_shredded_alone(bench: Bench) -> None:
    await put(bench, "r1")
    await rotate(bench, "r2", grace=timedelta(hours=1))
    await sign_with(bench, version=1)
    left = await bench.vault.shred_version("secrets/a", 1, by=OPERATOR)
    assert [one.number for one in left.versions] == [2]
    with pytest.raises(VersionNotFound):
        await sign_with(bench, version=1)


async def test_the_present_version_cannot_be_shredded_alone(bench: Bench) -> None:
    await put(bench, "r1")
    with pytest.raises(VersionInUse):
        await bench.vault.shred_version("secrets/a", 1, by=OPERATOR)


async def test_a_disabled_secret_does_not_sign_until_it_is_enabled(bench: Bench) -> None:
    await put(bench, "r1")
    before = await sign_with(bench)
    disabled = await bench.vault.disable("secrets/a", by=OPERATOR)
    assert disabled.state is State.DISABLED
    with pytest.raises(SecretDisabled):
        await sign_with(bench)
    await bench.vault.enable("secrets/a", by=OPERATOR)
    assert await sign_with(bench) == before


async def test_a_disabled_version_leaves_the_others_in_use(bench: Bench) -> None:
    await put(bench, "r1")
    await rotate(bench, "r2", grace=timedelta(hours=1))
    await bench.vault.disable("secrets/a", by=OPERATOR, version=1)
    assert await sign_with(bench)
    with pytest.raises(SecretDisabled):
        await sign_with(bench, version=1)


# --- Shred ---------------------------------------------------------------------------------------


async def test_a_shredded_secret_is_unknown(bench: Bench) -> None:
    await put(bench, "r1")
    await sign_with(bench)
    await bench.vault.shred("secrets/a", by=OPERATOR)
    with pytest.raises(SecretNotFound):
        bench.vault.describe("secrets/a")
    with pytest.raises(SecretNotFound):
        await sign_with(bench)


async def test_a_row_that_was_changed_can_be_shredded_and_put_again(bench: Bench) -> None:
    await put(bench, "r1")
    bench.write("secrets/a", kind=77)
    await bench.vault.shred("secrets/a", by=OPERATOR)
    await put(bench, "r2", value=bytes(32))
    bench.open()
    assert await public_key(bench) == public_key_of(bytes(32))


async def test_a_shredded_tenant_takes_its_secrets_and_no_others_along(bench: Bench) -> None:
    await put(bench, "r1")
    for name in ("secrets/b", "secrets/c"):
        await bench.vault.put(
            name,
            name,
            Kind.API_KEY,
            b"v",
            generate=False,
            by=OPERATOR,
            tenant="tenants/other",
        )
    assert await bench.vault.shred_tenant("tenants/other", by=OPERATOR) == 2
    listed = bench.vault.describe_all(after="", limit=10)
    assert [secret.name for secret in listed] == ["secrets/a"]
    with pytest.raises(TenantNotFound):
        await bench.vault.shred_tenant("tenants/other", by=OPERATOR)


async def test_a_shredded_tenant_can_have_secrets_again(bench: Bench) -> None:
    await put(bench, "r1")
    await bench.vault.shred_tenant("tenants/default", by=OPERATOR)
    await put(bench, "r2")
    bench.open()
    assert await sign_with(bench)


async def test_the_tenant_of_the_services_is_not_for_callers(bench: Bench) -> None:
    with pytest.raises(InvalidField):
        await bench.vault.shred_tenant("tenants/system", by=OPERATOR)
    with pytest.raises(InvalidField):
        await bench.vault.put(
            "r1",
            "secrets/a",
            Kind.API_KEY,
            b"v",
            generate=False,
            by=OPERATOR,
            tenant="tenants/system",
        )
    bench.open()
    assert await bench.vault.public_key("keys/bundles")
    with pytest.raises(SecretNotFound):
        bench.vault.describe("secrets/a")


# --- Reading -------------------------------------------------------------------------------------


async def test_a_list_goes_on_where_it_stopped(bench: Bench) -> None:
    names = [f"secrets/{letter}" for letter in "abcde"]
    for name in reversed(names):
        await bench.put(name)
    listed = bench.vault.describe_all(after="secrets/b", limit=2)
    assert [secret.name for secret in listed] == names[2:4]


async def test_no_list_shows_the_keys_of_the_services(bench: Bench) -> None:
    assert not bench.vault.describe_all(after="", limit=10)


async def test_a_list_refuses_a_row_that_was_changed(bench: Bench) -> None:
    await put(bench, "r1")
    bench.write("secrets/a", version=7)
    with pytest.raises(SealBroken):
        bench.vault.describe_all(after="", limit=10)


async def test_a_row_that_was_changed_gets_no_new_seal(bench: Bench) -> None:
    await put(bench, "r1", kind=Kind.API_KEY)
    bench.write("secrets/a", kind=int(Kind.ED25519))
    with pytest.raises(SealBroken):
        await rotate(bench, "r2")


async def test_a_bearer_key_does_not_sign(bench: Bench) -> None:
    await put(bench, "r1", kind=Kind.API_KEY)
    with pytest.raises(KindUnsuitable):
        await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=RUNTIME)


async def test_a_denied_caller_does_not_learn_whether_a_secret_exists(bench: Bench) -> None:
    await put(bench, "r1")
    answers = []
    for name in ("secrets/a", "secrets/b"):
        with pytest.raises(UseDenied) as caught:
            await sign(bench.vault, name, Purpose.REQUEST, b"m", by=Asker("assembler"))
        answers.append(str(caught.value).replace(name, "?"))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["keys/audit", "keys/requests"])
async def test_nobody_uses_the_keys_of_the_vault_itself(bench: Bench, name: str) -> None:
    with pytest.raises(SecretNotFound):
        await bench.vault.public_key(name)


@dataclass(frozen=True)
class Faulty:
    """An operation with a bug, which comes before or after it has written something."""

    writes: bool
    fails: bool = True
    method: str = "Faulty"
    by: Asker = OPERATOR

    def decide(self, batch: Batch, _entry: Entry) -> None:
        batch.cursor.execute("SELECT 1")
        if self.writes:
            batch.count("[]", 1)
        if self.fails:
            raise KeyError


async def test_a_bug_is_for_its_own_caller_alone(bench: Bench) -> None:
    await put(bench, "r1")
    disable = SetState(OPERATOR, "secrets/a", State.DISABLED)
    writing = Faulty(writes=True, fails=False)
    outcomes = bench.store.apply([writing, Faulty(writes=False), disable])
    assert list(map(type, outcomes)) == [type(None), KeyError, Secret]
    records = bench.vault.records(after=bench.vault.sequence - 3, limit=3)
    assert [one.record.outcome for one in records] == ["OK", "INTERNAL", "OK"]
    assert bench.vault.describe("secrets/a").state is State.DISABLED


async def test_a_bug_that_has_written_something_undoes_all_that_is_decided_with_it(
    bench: Bench,
) -> None:
    await put(bench, "r1")
    before = bench.vault.sequence
    disable = SetState(OPERATOR, "secrets/a", State.DISABLED)
    with pytest.raises(KeyError):
        bench.store.apply([disable, Faulty(writes=True), disable])
    assert bench.vault.sequence == before
    assert bench.vault.describe("secrets/a").state is State.ENABLED
    assert await bench.vault.disable("secrets/a", by=OPERATOR)


async def test_the_keys_of_the_services_stay_the_same_at_the_next_start(bench: Bench) -> None:
    before = await public_key(bench, "keys/bundles")
    bench.open()
    assert await public_key(bench, "keys/bundles") == before
