"""Uses are decided, approved, counted and lent as operators want, across restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from keymanager.audit.record import content_of
from keymanager.audit.several import FACTS_BYTES_MAX
from keymanager.batch import Batch
from keymanager.errors import (
    ApprovalRequired,
    LeaseExpired,
    LeaseNotFound,
    PolicyInvalid,
    SecretDisabled,
    UseDenied,
    VersionNotFound,
)
from keymanager.journal import Asker, Entry
from keymanager.leases import Lease
from keymanager.rows import PolicyRow
from keymanager.secret import Kind
from keymanager.signing import Purpose
from keymanager.uses.eip712 import FACTS_CHARACTERS_MAX
from keymanager.uses.envelopes import Decrypt, Encrypt
from keymanager.uses.handover import SUITE, Release, sealing_info
from keymanager.uses.signatures import SignMessage
from keymanager.uses.wallet import SignTypedData
from tests.keymanager.vaults import OPERATOR, Bench

AGENT = Asker("runtime", agent="agents/a", purpose="request")
LINKER = Asker("linker", agent="agents/b", purpose="generation")
RECIPIENT = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def policy(verdict: str = "allow", **rest: object) -> str:
    """Return a policy of one rule about everything."""
    rule = {
        "name": "rule",
        "verdict": verdict,
        "callers": "*",
        "secrets": "*",
        "operations": "*",
        "purposes": "*",
        **rest,
    }
    return json.dumps({"format": "actionvm.policy/v1", "rules": [rule]})


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.put("secrets/a")
    await made.put("secrets/key", b"sk-value")
    return made


async def sign(bench: Bench, message: bytes = b"m", by: Asker = AGENT) -> bytes:
    operation = SignMessage(Purpose.REQUEST, message)
    return await bench.vault.use("secrets/a", operation, method="Sign", by=by)


async def release(bench: Bench) -> Lease:
    key = RECIPIENT.public_key().public_bytes_raw()
    return await bench.vault.release("secrets/key", Release("models/openai", key), by=LINKER)


async def fill(bench: Bench) -> None:
    """Leave a row of every kind."""
    await bench.put("secrets/key", b"sk-value")
    await release(bench)
    await bench.vault.put_policy(policy(limits=[{"uses": 5, "per": "hour"}]), by=OPERATOR)
    await sign(bench)
    await bench.vault.put_policy(policy("ask"), by=OPERATOR)
    await asked(bench)


async def asked(bench: Bench, message: bytes = b"m") -> str:
    """Return the name of the question that a use leads to."""
    with pytest.raises(ApprovalRequired) as caught:
        await sign(bench, message)
    return caught.value.approval


# --- Policy --------------------------------------------------------------------------------------


async def test_what_no_rule_allows_is_denied_and_recorded(bench: Bench) -> None:
    with pytest.raises(UseDenied):
        await sign(bench, by=Asker("runtime", purpose="other"))
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    assert (last.record.verdict, last.record.outcome) == ("deny", "USE_DENIED")


async def test_who_is_denied_does_not_learn_whether_a_secret_exists(bench: Bench) -> None:
    answers = []
    bench.write("secrets/key", version=9)
    for name in ("secrets/a", "secrets/none", "secrets/key"):
        operation = SignMessage(Purpose.REQUEST, b"m")
        with pytest.raises(UseDenied) as caught:
            await bench.vault.use(name, operation, method="Sign", by=Asker("stranger"))
        answers.append(str(caught.value).replace(name, "?"))
    assert len(set(answers)) == 1


async def test_a_rule_about_kinds_does_not_show_that_there_is_a_secret(bench: Bench) -> None:
    await bench.vault.put_policy(policy("deny", kinds="ed25519"), by=OPERATOR)
    answers = []
    for name in ("secrets/a", "secrets/none"):
        operation = SignMessage(Purpose.REQUEST, b"m")
        with pytest.raises(UseDenied) as caught:
            await bench.vault.use(name, operation, method="Sign", by=AGENT)
        answers.append((str(caught.value).replace(name, "?"), *caught.value.metadata))
    assert answers[0] == answers[1]
    first, second = bench.vault.records(after=bench.vault.sequence - 2, limit=2)
    assert (first.record.rule, second.record.rule) == ("rule", "default")


async def test_who_may_not_sign_sees_no_public_key_either(bench: Bench) -> None:
    assert (await bench.vault.public_key("secrets/a", by=AGENT)).algorithm == "ed25519"
    await bench.vault.put_policy(policy("deny"), by=OPERATOR)
    for name in ("secrets/a", "secrets/key", "secrets/none"):
        with pytest.raises(UseDenied):
            await bench.vault.public_key(name, by=AGENT)
        (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
        assert (last.record.method, last.record.secret) == ("GetPublicKey", name)


async def test_no_policy_hides_public_keys_of_services_or_from_who_lists_secrets(
    bench: Bench,
) -> None:
    await bench.vault.put_policy(policy("deny"), by=OPERATOR)
    before = bench.vault.sequence
    assert await bench.vault.public_key("keys/bundles", by=AGENT)
    assert await bench.vault.public_key("secrets/a")
    assert bench.vault.sequence == before


async def test_a_policy_holds_after_a_restart(bench: Bench) -> None:
    await bench.vault.put_policy(policy("deny"), by=OPERATOR)
    bench.open()
    with pytest.raises(UseDenied):
        await sign(bench)


@dataclass(frozen=True)
class PutUnchecked:
    """Put a policy into force as an earlier release would."""

    text: str
    method: str = ""
    by: Asker = OPERATOR

    def decide(self, batch: Batch, _entry: Entry) -> None:
        batch.write(PolicyRow(1, self.text, self.by.caller, batch.microseconds))


async def test_a_policy_that_an_earlier_release_took_still_holds(bench: Bench) -> None:
    text = policy(operations=["sign-message", "sign-everything"])
    with pytest.raises(PolicyInvalid):
        await bench.vault.put_policy(text, by=OPERATOR)
    bench.store.apply([PutUnchecked(text)])
    bench.open()
    assert await sign(bench)
    assert (await bench.vault.policy()).version == 1


async def test_a_policy_with_problems_changes_nothing(bench: Bench) -> None:
    with pytest.raises(PolicyInvalid):
        await bench.vault.put_policy("format: other", by=OPERATOR)
    assert await sign(bench)
    assert (await bench.vault.policy()).version == 0


async def test_an_evaluation_names_the_rule_and_leaves_no_record(bench: Bench) -> None:
    before = bench.vault.sequence
    operation = SignMessage(Purpose.REQUEST, b"m")
    found = await bench.vault.evaluate("secrets/a", operation, by=AGENT)
    assert (found.decision.rule, bench.vault.sequence) == ("requests", before)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_limit_counts_across_restarts(bench: Bench, *, restarts: bool) -> None:
    await bench.vault.put_policy(policy(limits=[{"uses": 2, "per": "hour"}]), by=OPERATOR)
    for _ in range(2):
        await sign(bench)
        if restarts:
            bench.open()
    with pytest.raises(UseDenied):
        await sign(bench)
    bench.clock.advance(timedelta(hours=1, seconds=1))
    assert await sign(bench)


async def test_a_refused_use_does_not_count(bench: Bench) -> None:
    await bench.vault.put_policy(policy(limits=[{"uses": 1, "per": "hour"}]), by=OPERATOR)
    await bench.vault.disable("secrets/a", by=OPERATOR)
    with pytest.raises(SecretDisabled):
        await sign(bench)
    await bench.vault.enable("secrets/a", by=OPERATOR)
    assert await sign(bench)


async def test_several_uses_with_one_record_are_all_counted(bench: Bench) -> None:
    await bench.vault.put_policy(policy(limits=[{"uses": 3, "per": "hour"}]), by=OPERATOR)
    operations = [SignMessage(Purpose.REQUEST, bytes([number])) for number in range(1, 3)]
    before = bench.vault.sequence
    await bench.vault.use_all("secrets/a", operations, method="SignBatch", by=AGENT)
    with pytest.raises(UseDenied):
        await bench.vault.use_all("secrets/a", operations, method="SignBatch", by=AGENT)
    assert bench.vault.sequence == before + 2


async def test_a_record_holds_the_largest_facts_that_there_are(bench: Bench) -> None:
    names = ["m" * 52 + str(number) for number in range(10, 42)]
    content = {
        "types": {"N": [{"name": name, "type": "string"} for name in names]},
        "primaryType": "N",
        "domain": {"name": "\0" * 256},
        # Each takes six bytes as JSON.
        "message": dict.fromkeys(names, "\1" * 256),
    }
    await bench.put("secrets/wallet", bytes([7]) * 32, kind=Kind.SECP256K1)
    await bench.vault.put_policy(policy(), by=OPERATOR)
    operation = SignTypedData(json.dumps(content).encode())
    await bench.vault.use("secrets/wallet", operation, method="Sign", by=AGENT)
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    assert len(last.record.facts) == 2 + FACTS_CHARACTERS_MAX // 256
    assert len(content_of(last.record)) <= FACTS_BYTES_MAX


# --- Leases --------------------------------------------------------------------------------------


async def test_only_the_recipient_opens_what_is_released(bench: Bench) -> None:
    lease = await release(bench)
    info = sealing_info("release", "models/openai")
    assert SUITE.decrypt(lease.sealed_value, RECIPIENT, info) == b"sk-value"


async def test_a_lease_is_renewed_until_it_expires(bench: Bench) -> None:
    lease = await release(bench)
    bench.clock.advance(timedelta(minutes=9))
    renewed = await bench.vault.renew(lease.name, by=LINKER)
    assert renewed.expire_time == bench.clock.now() + timedelta(minutes=10)
    bench.clock.advance(timedelta(minutes=10))
    bench.open()
    with pytest.raises(LeaseExpired):
        await bench.vault.renew(lease.name, by=LINKER)


async def test_a_lease_is_renewed_only_as_long_as_its_secret_would_be_released(
    bench: Bench,
) -> None:
    lease = await release(bench)
    await bench.vault.put_policy(policy("deny"), by=OPERATOR)
    with pytest.raises(UseDenied):
        await bench.vault.renew(lease.name, by=LINKER)
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    asked = (last.record.operation, last.record.agent, last.record.purpose)
    assert asked == ("release", LINKER.agent, LINKER.purpose)
    await bench.vault.put_policy(policy(agents=LINKER.agent), by=OPERATOR)
    assert await bench.vault.renew(lease.name, by=Asker("linker"))


async def test_who_asked_a_person_for_a_lease_asks_again_for_the_next(bench: Bench) -> None:
    lease = await release(bench)
    await bench.vault.put_policy(policy("ask"), by=OPERATOR)
    with pytest.raises(LeaseExpired):
        await bench.vault.renew(lease.name, by=LINKER)
    assert not bench.vault.waiting(limit=10)


async def test_limits_count_releases_and_not_renewals(bench: Bench) -> None:
    await bench.vault.put_policy(policy(limits=[{"uses": 1, "per": "hour"}]), by=OPERATOR)
    lease = await release(bench)
    for _ in range(3):
        await bench.vault.renew(lease.name, by=LINKER)
    with pytest.raises(UseDenied):
        await release(bench)


async def test_a_revoked_lease_is_not_renewed(bench: Bench) -> None:
    lease = await release(bench)
    await bench.vault.revoke(lease.name, by=OPERATOR, is_operator=True)
    with pytest.raises(LeaseExpired):
        await bench.vault.renew(lease.name, by=LINKER)


async def test_a_lease_of_somebody_else_is_not_there(bench: Bench) -> None:
    lease = await release(bench)
    for change in (bench.vault.renew, bench.vault.revoke):
        with pytest.raises(LeaseNotFound):
            await change(lease.name, by=Asker("gas"))


async def test_the_lease_of_a_rotated_or_disabled_secret_is_not_renewed(bench: Bench) -> None:
    lease = await release(bench)
    await bench.vault.disable("secrets/key", by=OPERATOR)
    with pytest.raises(SecretDisabled):
        await bench.vault.renew(lease.name, by=LINKER)
    await bench.vault.enable("secrets/key", by=OPERATOR)
    await bench.rotate("secrets/key", b"sk-other")
    with pytest.raises(VersionNotFound):
        await bench.vault.renew(lease.name, by=LINKER)


# --- Keys whose versions work together ----------------------------------------------------------


async def test_an_old_version_of_a_data_key_still_decrypts_during_its_grace(bench: Bench) -> None:
    await bench.vault.put_policy(policy(), by=OPERATOR)
    await bench.vault.put("d", "secrets/data", Kind.DATA, b"", generate=True, by=OPERATOR)
    by = Asker("knowledge", purpose="knowledge")
    text = await bench.vault.use("secrets/data", Encrypt("c", b"text"), method="Encrypt", by=by)
    await bench.vault.rotate(
        "e", "secrets/data", b"", generate=True, by=OPERATOR, grace=timedelta(hours=1)
    )
    opening = Decrypt("c", text, RECIPIENT.public_key().public_bytes_raw())
    sealed = await bench.vault.use("secrets/data", opening, method="Decrypt", by=by)
    assert SUITE.decrypt(sealed, RECIPIENT, sealing_info("decrypt", "c")) == b"text"
