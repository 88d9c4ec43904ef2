"""Keys of providers are here while they are used, and nowhere else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from chassis.config import ServiceConfig
from chassis.errors import PeerUnavailable
from chassis.server import start_server
from chassis.tls import Bearer
from linker.clients import KeysClient
from linker.errors import CredentialRefused
from linker.keys import HeldKey, Keyring
from tests.contracts.keymanagers import POLICY, open_bench
from tests.fakes.keys import LIFE, FakeKeys
from tests.grpc_fixtures import identities_json, token_of
from tests.keymanager.authorities import host
from tests.keymanager.vaults import OPERATOR, Bench, HandSetClock

SECRET = "secrets/openai"
ACCOUNT = "agents/brief"
MODEL = "openai/gpt-9"
VALUE = "sk-canary-4711"


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def keys(clock: HandSetClock) -> FakeKeys:
    return FakeKeys(clock, openai=VALUE)


@pytest.fixture
def keyring(keys: FakeKeys, clock: HandSetClock) -> Keyring:
    return Keyring(keys, clock)


def held(keyring: Keyring, account: str = ACCOUNT) -> HeldKey:
    return keyring.key(SECRET, account, MODEL)


async def test_a_key_is_released_when_it_is_first_used(keyring: Keyring, keys: FakeKeys) -> None:
    key = held(keyring)
    assert keys.asked == []
    assert [await key.value(), await key.value()] == [VALUE, VALUE]
    assert keys.asked == [("release", SECRET, ACCOUNT)]


async def test_each_agent_has_a_lease_of_its_own(keyring: Keyring, keys: FakeKeys) -> None:
    await held(keyring).value()
    await held(keyring, "agents/other").value()
    assert keys.asked == [("release", SECRET, ACCOUNT), ("release", SECRET, "agents/other")]


async def test_many_who_come_at_once_ask_once(keyring: Keyring, keys: FakeKeys) -> None:
    assert set(await asyncio.gather(*(held(keyring).value() for _ in range(50)))) == {VALUE}
    assert len(keys.asked) == 1


async def test_a_lease_is_renewed_while_it_is_used(
    keyring: Keyring, keys: FakeKeys, clock: HandSetClock
) -> None:
    key = held(keyring)
    for _ in range(4):
        assert await key.value() == VALUE
        clock.advance(LIFE * 0.6)
    assert [asked[0] for asked in keys.asked] == ["release", "renew", "renew", "renew"]


async def test_a_renewal_gives_the_value_after_a_rotation(
    keyring: Keyring, keys: FakeKeys, clock: HandSetClock
) -> None:
    key = held(keyring)
    await key.value()
    keys.rotate("openai", "sk-2")
    clock.advance(LIFE * 0.6)
    assert await key.value() == "sk-2"


async def test_a_key_that_was_refused_is_replaced_if_there_is_another(
    keyring: Keyring, keys: FakeKeys
) -> None:
    key, behind = held(keyring), held(keyring)
    await key.value()
    await behind.value()
    keys.rotate("openai", "sk-2")
    assert await key.is_replaced()
    # One that was refused with the same old value hears of the new one, too.
    assert await behind.is_replaced()
    assert await key.value() == "sk-2"
    assert not await key.is_replaced()


async def test_a_lease_that_ended_is_followed_by_another(
    keyring: Keyring, keys: FakeKeys, clock: HandSetClock
) -> None:
    key = held(keyring)
    await key.value()
    clock.advance(LIFE * 2)
    assert await key.value() == VALUE
    assert [asked[0] for asked in keys.asked] == ["release", "release"]


async def test_a_key_manager_that_is_away_stops_nobody_whose_lease_goes_on(
    keyring: Keyring, keys: FakeKeys, clock: HandSetClock
) -> None:
    key = held(keyring)
    await key.value()
    clock.advance(LIFE * 0.6)
    keys.fail_next(PeerUnavailable("keymanager"))
    assert await key.value() == VALUE
    clock.advance(LIFE)
    keys.fail_next(PeerUnavailable("keymanager"))
    with pytest.raises(PeerUnavailable):
        await key.value()


async def test_a_refusal_names_the_model_and_ends_what_was_held(
    keyring: Keyring, keys: FakeKeys, clock: HandSetClock
) -> None:
    key = held(keyring)
    await key.value()
    clock.advance(LIFE * 0.6)
    keys.fail_next(CredentialRefused(SECRET, "rule models denies it"))
    with pytest.raises(CredentialRefused, match=f"for {MODEL} does not open it: rule models"):
        await key.value()
    assert VALUE not in repr(keyring._held)
    assert not keyring._held


async def test_a_key_is_forgotten_when_its_lease_ends(clock: HandSetClock) -> None:
    keyring = Keyring(FakeKeys(clock, openai=VALUE), clock)
    await held(keyring).value()
    end = keyring._held[SECRET, ACCOUNT].end
    assert end is not None
    assert end.when() - asyncio.get_running_loop().time() <= LIFE.total_seconds()
    end._run()
    assert not keyring._held


async def test_keys_are_given_back_at_the_end(keyring: Keyring, keys: FakeKeys) -> None:
    await held(keyring).value()
    await keyring.close()
    assert keys.revoked == ["leases/1"]
    assert not keyring._held


async def test_no_picture_of_a_key_shows_it(keyring: Keyring) -> None:
    key = held(keyring)
    await key.value()
    pictures = (key, key._given, keyring, keyring._held, vars(keyring))
    assert not [one for one in pictures if VALUE in f"{one!r}{one}"]


# --- Over the contract, with the key manager itself ----------------------------------------------


@pytest_asyncio.fixture
async def bench() -> Bench:
    bench = await open_bench()
    await bench.put(SECRET, VALUE.encode())
    return bench


@pytest_asyncio.fixture
async def client(bench: Bench, tmp_path: Path) -> AsyncIterator[KeysClient]:
    (tmp_path / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        identities_file=tmp_path / "identities.json",
        token_file=tmp_path / "token",
        tls="off",
    )
    server = await start_server(config, host(bench))
    channel = Bearer(token_of("linker")).connect(server.address, "peer")
    yield KeysClient(channel)
    await channel.close(None)
    await server.grpc_server.stop(0)


async def test_the_key_manager_releases_and_renews(client: KeysClient, bench: Bench) -> None:
    lease = await client.release(SECRET, ACCOUNT)
    assert (lease.value, lease.version) == (VALUE, 1)
    bench.clock.advance(timedelta(minutes=5))
    renewed = await client.renew(lease)
    assert renewed is not None
    assert renewed.expire_time == lease.expire_time + timedelta(minutes=5)
    assert renewed.value == VALUE


async def test_what_was_rotated_is_released_anew(client: KeysClient, bench: Bench) -> None:
    keyring = Keyring(client, bench.clock)
    key = held(keyring)
    assert await key.value() == VALUE
    await bench.rotate(SECRET, b"sk-2")
    bench.clock.advance(timedelta(minutes=6))
    assert await key.value() == "sk-2"
    await keyring.close()


async def test_a_lease_that_is_over_is_not_renewed(client: KeysClient, bench: Bench) -> None:
    lease = await client.release(SECRET, ACCOUNT)
    await client.revoke(lease.name)
    await client.revoke(lease.name)
    assert await client.renew(lease) is None


@pytest.mark.parametrize(
    "name", ["secrets/unknown", "secrets/disabled", "secrets/forbidden", "secrets/wallet"]
)
async def test_what_may_not_leave_is_refused(client: KeysClient, name: str) -> None:
    with pytest.raises(CredentialRefused):
        await client.release(name, ACCOUNT)


async def test_who_has_to_decide_about_a_release_and_how_is_said(
    client: KeysClient, bench: Bench
) -> None:
    policy = POLICY.replace("secrets/guarded", SECRET)
    await bench.vault.put_policy(policy, by=OPERATOR)
    with pytest.raises(CredentialRefused, match="a person has to decide") as refused:
        await client.release(SECRET, ACCOUNT)
    (approval,) = bench.vault.waiting(limit=2)
    assert f"'actionvm approvals approve {approval.name}'" in str(refused.value)
    await bench.vault.decide_approval(approval.name, approves=True, by=OPERATOR)
    assert (await client.release(SECRET, ACCOUNT)).value == VALUE


async def test_what_was_sealed_to_another_key_does_not_open(client: KeysClient) -> None:
    with pytest.raises(CredentialRefused, match="did not arrive whole") as refused:
        client._open(SECRET, b"\x00" * 64)
    assert refused.value.__cause__ is None


async def test_nothing_of_a_key_is_in_the_log(client: KeysClient, bench: Bench) -> None:
    with capture_logs() as logs:
        keyring = Keyring(client, bench.clock)
        await held(keyring).value()
        await keyring.close()
    assert logs
    assert not re.search(VALUE, repr(logs))
