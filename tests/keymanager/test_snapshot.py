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
from keymanager.errors import BackupInvalid, VaultNotEmpty
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


@settings(max_examples=60)
@given(data=st.data())
def test_no_state_is_a_bug(data: st.DataObject) -> None:
    async def try_import() -> None:
        good = {"format": "actionvm.keymanager-state/v1", "ledger": "l", "sequence": 1}
        state = good | {"policy": "", "secrets": data.draw(_SECRETS)}
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
