"""What one vault exports, a new one seals again."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.errors import BackupInvalid, UseDenied, VaultNotEmpty
from keymanager.signing import Purpose
from tests.keymanager.test_uses import AGENT, policy
from tests.keymanager.vaults import OPERATOR, Bench, sign


@pytest.fixture
async def content() -> bytes:
    """Return the state of a vault with a policy and a secret that was rotated."""
    bench = Bench()
    await bench.put("secrets/a")
    await bench.rotate("secrets/a", grace=timedelta(hours=1))
    await bench.put("secrets/key", b"sk-value")
    await bench.vault.disable("secrets/key", by=OPERATOR)
    await bench.vault.put_policy(policy(), by=OPERATOR)
    return await bench.vault.export_state(by=OPERATOR)


async def test_an_imported_state_is_the_one_that_was_exported(content: bytes) -> None:
    bench = Bench(seed=2)
    assert await bench.vault.import_state(content, by=OPERATOR) == 5
    bench.open()
    again = json.loads(await bench.vault.export_state(by=OPERATOR))
    before = json.loads(content)
    assert (again["secrets"], again["policy"]) == (before["secrets"], before["policy"])
    assert await sign(bench.vault, "secrets/a", Purpose.REQUEST, b"m", by=AGENT)


async def test_the_log_of_a_restored_vault_is_its_own(content: bytes) -> None:
    bench = Bench(seed=2)
    await bench.vault.import_state(content, by=OPERATOR)
    (last,) = bench.vault.records(after=bench.vault.sequence - 1, limit=1)
    assert last.record.method == "Restore"
    assert last.record.facts["ledger"] != bench.vault.status.ledger


async def test_a_state_is_not_imported_over_secrets(content: bytes) -> None:
    bench = Bench(seed=2)
    await bench.put("secrets/b")
    with pytest.raises(VaultNotEmpty):
        await bench.vault.import_state(content, by=OPERATOR)


async def test_what_was_used_of_a_limit_stays_used() -> None:
    limited, old, new = policy(limits=[{"per": "day", "uses": 3}]), Bench(), Bench(seed=2)
    await old.put("secrets/a")
    await old.vault.put_policy(limited, by=OPERATOR)
    for _ in range(2):
        await sign(old.vault, "secrets/a", Purpose.REQUEST, b"m", by=AGENT)
    await new.vault.import_state(await old.vault.export_state(by=OPERATOR), by=OPERATOR)
    new.open()

    await sign(new.vault, "secrets/a", Purpose.REQUEST, b"m", by=AGENT)
    with pytest.raises(UseDenied):
        await sign(new.vault, "secrets/a", Purpose.REQUEST, b"m", by=AGENT)
    new.clock.advance(timedelta(days=1, seconds=1))
    assert await sign(new.vault, "secrets/a", Purpose.REQUEST, b"m", by=AGENT)


async def test_a_backup_of_before_limits_were_in_it_is_imported(content: bytes) -> None:
    state = json.loads(content)
    del state["counts"]
    assert await Bench(seed=2).vault.import_state(json.dumps(state).encode(), by=OPERATOR) == 5


@settings(max_examples=60)
@given(data=st.data())
def test_no_state_is_a_bug(data: st.DataObject) -> None:
    async def try_import() -> None:
        good = {"format": "actionvm.keymanager-state/v1", "ledger": "l", "sequence": 1}
        state = good | {"policy": "", "secrets": data.draw(_SECRETS)}
        state["counts"] = data.draw(_COUNTS)
        with suppress(BackupInvalid, InvalidField):
            await Bench().vault.import_state(json.dumps(state).encode(), by=OPERATOR)

    asyncio.run(try_import())


_CELL = st.one_of(st.none(), st.integers(-1, 3), st.text(max_size=3), st.just("dmFsdWU="))
_VERSION = st.fixed_dictionaries(
    {
        "number": st.integers(0, 2),
        "state": st.integers(0, 3),
        "create_microseconds": _CELL,
        "expire_microseconds": _CELL,
        "value": _CELL,
    }
)
_COUNTER = st.sampled_from(["", "{", "[]", "[1]", "null", '["rule", "", "", ""]', None, 1])
_COUNTS = st.lists(st.lists(_COUNTER | st.integers(-1, 2**70), max_size=4), max_size=2)
_SECRETS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["secrets/a", "secrets/b", "keys/audit", ""]),
            "tenant": st.sampled_from(["tenants/default", "tenants/system", ""]),
            "kind": st.integers(0, 11),
            "version": st.integers(0, 2),
            "state": st.integers(0, 3),
            "create_microseconds": _CELL,
            "versions": st.lists(_VERSION, max_size=2),
        }
    ),
    max_size=2,
)
