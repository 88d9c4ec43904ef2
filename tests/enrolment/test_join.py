"""Joining a real key manager: certificates, revocation on open connections, what is on the disk."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio

from actionvm.gas.v1 import gas_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.certificates import identity_of
from chassis.clock import SystemClock
from chassis.config import ServiceConfig
from chassis.identity import OPERATOR, Token, format_identities, hash_token
from chassis.membership import Membership
from chassis.server import RunningServer, start_server
from chassis.tls import Member, Mutual, connect_with_token
from enrolment.join import join
from keymanager.__main__ import open_on
from keymanager.config import KeymanagerConfig
from keymanager.database import open_vault_store
from keymanager.identity.quotes import trusting_key
from keymanager.own_values import OwnValue
from keymanager.platform.port import PlatformUnavailable
from keymanager.signing import AUTHORITY_KEY
from tests.chassis.test_tls import REQUEST, failure, seconds_until
from tests.chassis.toy import serving
from tests.fakes.platform import FakeAttester, FakePlatform
from tests.grpc_fixtures import token_of

REVOKED_SECONDS = 1.0


@dataclass
class Realm:
    """A key manager that runs, below a folder, and its operator."""

    folder: Path
    platform: FakePlatform
    server: RunningServer
    operator: Any

    def joined(self, role: str) -> AbstractAsyncContextManager[Member]:
        """Let a process of a role join."""
        return join(self._config(), FakeAttester(self.platform, role))

    def _config(self) -> ServiceConfig:
        return ServiceConfig(
            listen="127.0.0.1:0",
            peer_listen="127.0.0.1:0",
            data_dir=self.folder,
            identities_file=self.folder / "identities.json",
            ca_file=self.folder / "ca.pem",
            issuer_address=self.server.address,
            issuer_peer_address=self.server.peer_address,
            platform_socket=self.folder / "platformd.sock",
        )


def settings(folder: Path, **others: Any) -> KeymanagerConfig:  # noqa: ANN401  # any setting
    return KeymanagerConfig(
        listen="127.0.0.1:0",
        peer_listen="127.0.0.1:0",
        data_dir=folder / "data",
        identities_file=folder / "identities.json",
        ca_file=folder / "ca.pem",
        **others,
    )


@asynccontextmanager
async def realm(
    folder: Path,
    *,
    on: FakePlatform | None = None,
    **others: Any,  # noqa: ANN401  # as above
) -> AsyncIterator[Realm]:
    """Start a key manager with its certificate of its own; it may be sealed `on` a chip."""
    tokens = {hash_token(token_of(OPERATOR)): Token(OPERATOR, OPERATOR)}
    (folder / "identities.json").write_bytes(format_identities(tokens))
    config, platform = settings(folder, **others), FakePlatform(folder / "counter")
    measuring = platform if on else None
    async with open_on(on or platform, config, services_on=measuring) as hosted:
        server = await start_server(config, hosted)
        authority = (folder / "ca.pem").read_bytes()
        channel = connect_with_token(
            server.address, "keymanager", token=token_of(OPERATOR), authority=authority
        )
        async with channel:
            stub: Any = keymanager_pb2_grpc.KeymanagerServiceStub(channel)
            yield Realm(folder, platform, server, stub)
        await server.stop()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Realm]:
    async with realm(tmp_path) as made:
        yield made


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again; fail if it does not hold within a second."""
    async with asyncio.timeout(REVOKED_SECONDS):
        while not holds():  # noqa: ASYNC110  # nobody tells when it holds
            await asyncio.sleep(0.01)


def stub_on(channel: Any) -> Any:  # noqa: ANN401  # a channel, and a stub whose types are sync
    return keymanager_pb2_grpc.KeymanagerServiceStub(channel)


async def test_a_service_joins_and_is_known_by_its_role(running: Realm) -> None:
    async with (
        running.joined("runtime") as member,
        member.connect(running.server.peer_address, "keymanager") as channel,
    ):
        key = await stub_on(channel).GetPublicKey(pb.GetPublicKeyRequest(key="keys/receipts"))

    assert len(key.public_key) == 32


@pytest.mark.parametrize("role", ["", "keymanager", "operator"])
async def test_a_process_that_is_no_service_is_refused(running: Realm, role: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), running.joined(role):
            pass


async def test_a_process_of_another_platform_is_refused(running: Realm) -> None:
    running.platform = FakePlatform()
    running.platform.key = Ed25519PrivateKey.generate()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), running.joined("gas"):
            pass


@pytest.fixture
def chip() -> FakePlatform:
    """Return what only the key manager is on."""
    made = FakePlatform()
    made.key = Ed25519PrivateKey.generate()
    return made


async def test_platformd_measures_the_services_of_a_key_manager_on_a_chip(
    tmp_path: Path, chip: FakePlatform
) -> None:
    key = FakePlatform().key.public_key().public_bytes_raw().hex()
    async with realm(tmp_path, on=chip, platformd_key=key) as made, made.joined("gas") as member:
        assert isinstance(member, Mutual)


async def test_a_process_that_another_platformd_measured_is_refused(
    tmp_path: Path, chip: FakePlatform
) -> None:
    key = FakePlatform().key.public_key().public_bytes_raw().hex()
    async with realm(tmp_path, on=chip, platformd_key=key) as made:
        made.platform = chip
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), made.joined("gas"):
                pass


@pytest.mark.parametrize("named", ["", "ab" * 32], ids=["none", "other"])
async def test_a_platformd_whose_key_nobody_named_stops_the_start(
    tmp_path: Path, chip: FakePlatform, named: str
) -> None:
    key = FakePlatform().key.public_key().public_bytes_raw().hex()
    with pytest.raises(PlatformUnavailable, match=f"{key}.*KEYMANAGER_PLATFORMD_KEY"):
        async with realm(tmp_path, on=chip, platformd_key=named):
            pass


def test_a_platformd_that_knows_another_process_as_the_key_manager_is_refused() -> None:
    platform = FakePlatform(role="gas")
    key = platform.key.public_key().public_bytes_raw()

    with pytest.raises(PlatformUnavailable, match="another role"):
        trusting_key(platform, key, random_bytes=os.urandom)


@pytest.mark.parametrize("by", ["identity", "serial_number"])
async def test_a_revocation_acts_on_an_open_connection_within_a_second(
    running: Realm, tmp_path: Path, by: str
) -> None:
    """Another service than the key manager refuses, which had to hear of it."""
    async with AsyncExitStack() as stack:
        gas = await stack.enter_async_context(running.joined("gas"))
        linker = await stack.enter_async_context(running.joined("linker"))
        assert isinstance(linker, Mutual)
        folder = tmp_path / "gas"
        folder.mkdir()
        assert isinstance(gas, Mutual)
        served = serving(folder, gas._membership, revoked=gas.revoked)
        toy = await stack.enter_async_context(served)
        certificate = linker._membership.identity
        credentials = grpc.ssl_channel_credentials(
            certificate.authority, certificate.private_key, certificate.chain
        )
        # Somebody who has stolen the key, and cannot enrol.
        options = [("grpc.ssl_target_name_override", "gas.actionvm")]
        thief = await stack.enter_async_context(
            aio.secure_channel(toy.peer_address, credentials, options=options)
        )
        stub: Any = gas_pb2_grpc.GasServiceStub(thief)
        await stub.GetBudget(REQUEST)
        value = {
            "identity": identity_of("linker"),
            "serial_number": f"{certificate.certificate.serial:x}",
        }[by]
        start = time.monotonic()
        await running.operator.RevokeIdentity(pb.RevokeIdentityRequest(**{by: value}))
        await seconds_until("CERTIFICATE_REVOKED", lambda: stub.GetBudget(REQUEST))

        assert time.monotonic() - start <= REVOKED_SECONDS


async def test_who_lost_one_certificate_gets_another_at_once(running: Realm) -> None:
    async with running.joined("linker") as member:
        assert isinstance(member, Mutual)
        stolen = member._membership.identity.certificate
        request = pb.RevokeIdentityRequest(serial_number=f"{stolen.serial:x}")
        await running.operator.RevokeIdentity(request)
        await until(lambda: member._membership.identity.certificate != stolen)


async def test_a_revoked_identity_cannot_enrol_until_it_is_let_in_again(running: Realm) -> None:
    request = pb.RevokeIdentityRequest(identity=identity_of("linker"))
    await running.operator.RevokeIdentity(request)
    joining = asyncio.create_task(_joined(running))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await asyncio.shield(joining)

    again = pb.ReinstateIdentityRequest(identity=identity_of("linker"))
    await running.operator.ReinstateIdentity(again)

    async with asyncio.timeout(5):
        assert await joining == "linker"


async def test_a_revocation_survives_a_restart(tmp_path: Path) -> None:
    async with realm(tmp_path) as first:
        request = pb.RevokeIdentityRequest(identity=identity_of("gas"))
        await first.operator.RevokeIdentity(request)
    async with (
        realm(tmp_path) as second,
        second.joined("linker") as member,
        member.connect(second.server.peer_address, "keymanager") as channel,
    ):
        state = await stub_on(channel).WatchRevocations(pb.WatchRevocationsRequest()).read()

    assert list(state.identities) == [identity_of("gas")]


async def test_services_keep_what_they_know_while_the_key_manager_is_away(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with realm(tmp_path) as first:
            request = pb.RevokeIdentityRequest(identity=identity_of("gas"))
            await first.operator.RevokeIdentity(request)
            member = await stack.enter_async_context(first.joined("linker"))
            await until(lambda: bool(member.revoked().identities))

        assert member.revoked().identities == {identity_of("gas")}


async def test_a_system_keeps_its_authority(tmp_path: Path) -> None:
    async with realm(tmp_path):
        before = (tmp_path / "ca.pem").read_bytes()
    async with realm(tmp_path):
        assert (tmp_path / "ca.pem").read_bytes() == before


async def test_the_key_of_the_authority_is_in_no_list_and_signs_nothing(running: Realm) -> None:
    listed = await running.operator.ListSecrets(pb.ListSecretsRequest())
    found = await failure(running.operator.GetPublicKey(pb.GetPublicKeyRequest(key=AUTHORITY_KEY)))

    assert not listed.secrets
    assert found == ("NOT_FOUND", "SECRET_NOT_FOUND")


async def test_no_private_key_of_a_certificate_is_on_the_disk(tmp_path: Path) -> None:
    async with realm(tmp_path) as made, made.joined("linker") as member:
        assert isinstance(member, Mutual)
        membership: Membership = member._membership
        own = membership.identity.private_key
    engine, store = open_vault_store(
        tmp_path / "data", made.platform, clock=SystemClock(), random_bytes=os.urandom
    )
    scalar = (OwnValue(store, AUTHORITY_KEY).load() or b"")[:32]
    engine.dispose()
    assert len(scalar) == 32
    from_pem = base64.b64decode(b"".join(own.splitlines()[1:-1]))
    canaries = {
        *(scalar, scalar.hex().encode(), base64.b64encode(scalar)[:40]),
        *(own, from_pem, from_pem[-100:-70], b"PRIVATE KEY"),
        # How every P-256 key in PKCS 8 begins.
        bytes.fromhex("308187020100301306072a8648ce3d0201"),
        b"MIGHAgEAMBMGByqGSM49",
    }

    found = await asyncio.to_thread(files_with, tmp_path, canaries)
    assert not found


def files_with(folder: Path, canaries: set[bytes]) -> list[str]:
    """Return the files below a folder that contain one of some byte strings."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3, "a key manager leaves more than that"
    contents = {path.name: path.read_bytes() for path in files}
    return [name for name, content in contents.items() if any(one in content for one in canaries)]


async def _joined(realm: Realm) -> str:
    async with realm.joined("linker") as member:
        assert isinstance(member, Mutual)
        return member._membership.identity.certificate.role
