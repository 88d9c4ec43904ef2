"""TLS over real gRPC: who is let in, who is not, and what happens while a connection is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import aio

from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis.certificates import Revoked, identity_of
from chassis.channel import find_detail, open_channel
from chassis.identity import Token, hash_token
from chassis.membership import Membership
from chassis.renewing import RenewingChannel
from chassis.tls import Mutual, connect_with_token
from tests.keymanager.authorities import an_authority, enrolled
from tests.keymanager.vaults import HandSetClock

from .toy import serving

REQUEST = gas_pb2.GetBudgetRequest(account="agents/a")
SHORT = timedelta(seconds=2)
NOTICED_SECONDS = 1.0


def stub_on(channel: Any) -> Any:  # noqa: ANN401  # a channel, and a stub whose types are sync
    return gas_pb2_grpc.GasServiceStub(channel)


async def failure(call: Awaitable[object]) -> tuple[str, str]:
    """Return code and reason of a call that must fail."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    info: Any = find_detail(caught.value, error_details_pb2.ErrorInfo)
    return caught.value.code().name, info.reason if info else ""


async def seconds_until(reason: str, call: Callable[[], Awaitable[object]]) -> float:
    """Call until it is refused for a reason; return how long that took."""
    start = time.monotonic()
    while True:
        try:
            await call()
        except aio.AioRpcError as error:
            info: Any = find_detail(error, error_details_pb2.ErrorInfo)
            assert info is not None, error
            assert info.reason == reason
            return time.monotonic() - start
        assert time.monotonic() - start < 30, "it is never refused"


async def test_who_does_not_know_what_is_revoked_refuses_peers_and_answers_people(
    tmp_path: Path,
) -> None:
    authority = an_authority()
    server = await enrolled(authority, "gas")
    peer = Mutual(await enrolled(authority, "linker"))
    tokens = {hash_token("t"): Token("alice", "viewer")}
    async with (
        serving(tmp_path, server, tokens, revoked=server.revoked) as toy,
        peer.connect(toy.peer_address, "gas") as channel,
        connect_with_token(toy.address, "gas", token="t", authority=authority.pem) as people,
    ):
        refused = await failure(stub_on(channel).GetBudget(REQUEST))
        streamed = await failure(
            stub_on(channel).WatchCharges(gas_pb2.WatchChargesRequest()).read()
        )

        assert refused == streamed == ("UNAVAILABLE", "REVOCATIONS_UNKNOWN")
        assert await stub_on(people).GetBudget(REQUEST)


async def test_a_service_is_known_by_its_certificate(tmp_path: Path) -> None:
    authority = an_authority()
    linker = Mutual(await enrolled(authority, "linker"))
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        linker.connect(toy.peer_address, "gas") as channel,
    ):
        answer = await stub_on(channel).GetBudget(REQUEST)

    assert answer.budgets[0].account == "linker"


async def test_a_service_that_the_table_does_not_list_is_refused(tmp_path: Path) -> None:
    authority = an_authority()
    assembler = Mutual(await enrolled(authority, "assembler"))
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        assembler.connect(toy.peer_address, "gas") as channel,
    ):
        found = await failure(stub_on(channel).GetBudget(REQUEST))

    assert found == ("PERMISSION_DENIED", "METHOD_DENIED")


async def test_without_a_certificate_the_port_of_peers_answers_nothing(tmp_path: Path) -> None:
    authority = an_authority()
    async with serving(tmp_path, await enrolled(authority, "gas")) as toy:
        channel = connect_with_token(toy.peer_address, "gas", token="t", authority=authority.pem)
        async with channel:
            found = await failure(stub_on(channel).GetBudget(REQUEST, timeout=3))

    assert found == ("UNAVAILABLE", "")


async def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    authority = an_authority()
    stranger = await enrolled(an_authority(seed=2), "linker")
    identity = stranger.identity
    credentials = grpc.ssl_channel_credentials(authority.pem, identity.private_key, identity.chain)
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        open_channel(
            toy.peer_address, credentials=credentials, authority="gas.actionvm"
        ) as channel,
    ):
        found = await failure(stub_on(channel).GetBudget(REQUEST, timeout=3))

    assert found == ("UNAVAILABLE", "")


async def test_a_server_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    linker = Mutual(await enrolled(an_authority(), "linker"))
    async with (
        serving(tmp_path, await enrolled(an_authority(seed=2), "gas")) as toy,
        linker.connect(toy.peer_address, "gas") as channel,
    ):
        found = await failure(stub_on(channel).GetBudget(REQUEST, timeout=3))

    assert found == ("UNAVAILABLE", "")


async def test_a_service_cannot_pass_for_another_one(tmp_path: Path) -> None:
    authority = an_authority()
    linker = Mutual(await enrolled(authority, "linker"))
    async with (
        serving(tmp_path, await enrolled(authority, "knowledge")) as toy,
        linker.connect(toy.peer_address, "gas") as channel,
    ):
        found = await failure(stub_on(channel).GetBudget(REQUEST, timeout=3))

    assert found == ("UNAVAILABLE", "")


async def test_a_certificate_that_has_expired_opens_no_connection(tmp_path: Path) -> None:
    authority = an_authority()
    # Of the same authority, a day ago.
    yesterday = an_authority(HandSetClock(authority.clock.now() - timedelta(days=1)))
    late = Mutual(await enrolled(yesterday, "linker", clock=yesterday.clock))
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        late.connect(toy.peer_address, "gas") as channel,
    ):
        found = await failure(stub_on(channel).GetBudget(REQUEST, timeout=3))

    assert found == ("UNAVAILABLE", "")


async def test_a_certificate_that_expires_ends_its_open_connection(tmp_path: Path) -> None:
    authority = an_authority()
    linker = await enrolled(an_authority(validity=SHORT), "linker")
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        stub = stub_on(channel)
        took = await seconds_until("CERTIFICATE_EXPIRED", lambda: stub.GetBudget(REQUEST))

    assert took <= SHORT.total_seconds() + 0.5


async def test_renewal_under_load_loses_no_call(tmp_path: Path) -> None:
    authority = an_authority(validity=SHORT)
    gas, linker = await enrolled(authority, "gas"), await enrolled(authority, "linker")
    seen: set[int] = set()
    end = time.monotonic() + 8.0
    calls = 0

    async def call_on(channel: RenewingChannel) -> None:
        nonlocal calls
        stub = stub_on(channel)
        while time.monotonic() < end:
            await stub.GetBudget(REQUEST)
            calls += 1
            seen.add(linker.identity.certificate.serial)

    async with (
        gas.kept(),
        linker.kept(),
        serving(tmp_path, gas) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        await asyncio.gather(*(call_on(channel) for _ in range(16)))

    assert len(seen) >= 5
    assert calls > 100


async def test_a_stream_outlives_the_certificate_that_opened_it(tmp_path: Path) -> None:
    authority = an_authority(validity=SHORT)
    gas, linker = await enrolled(authority, "gas"), await enrolled(authority, "linker")
    async with (
        gas.kept(),
        linker.kept(),
        serving(tmp_path, gas) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        stub = stub_on(channel)
        stream = stub.WatchCharges(gas_pb2.WatchChargesRequest())
        await stream.read()
        first = linker.identity
        while linker.identity.certificate.not_after < first.certificate.not_after + SHORT:
            await stub.GetBudget(REQUEST)
        toy.service.more.set()

        assert isinstance(await stream.read(), gas_pb2.WatchChargesResponse)


@pytest.mark.parametrize("by", ["identity", "serial"])
async def test_a_revocation_ends_an_open_connection(tmp_path: Path, by: str) -> None:
    authority = an_authority()
    linker = await enrolled(authority, "linker")
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        stub = stub_on(channel)
        await stub.GetBudget(REQUEST)
        serial = linker.identity.certificate.serial
        toy.revoked = (
            Revoked(serials=frozenset({serial}))
            if by == "serial"
            else Revoked(identities=frozenset({identity_of("linker")}))
        )

        found = await failure(stub.GetBudget(REQUEST))

    assert found == ("UNAUTHENTICATED", "CERTIFICATE_REVOKED")


async def test_a_revocation_ends_a_stream_at_its_next_item(tmp_path: Path) -> None:
    authority = an_authority()
    linker = await enrolled(authority, "linker")
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        stream = stub_on(channel).WatchCharges(gas_pb2.WatchChargesRequest())
        await stream.read()
        toy.revoked = Revoked(identities=frozenset({identity_of("linker")}))
        toy.service.more.set()

        found = await failure(stream.read())

    assert found == ("UNAUTHENTICATED", "CERTIFICATE_REVOKED")


async def test_a_person_needs_the_authority_and_a_token(tmp_path: Path) -> None:
    authority = an_authority()
    tokens = {hash_token("of-alice"): Token("alice", "viewer")}
    async with serving(tmp_path, await enrolled(authority, "gas"), tokens) as toy:
        channel = connect_with_token(toy.address, "gas", token="of-alice", authority=authority.pem)
        async with channel:
            role, name = (await stub_on(channel).GetBudget(REQUEST)).budgets

    assert (role.account, name.account) == ("viewer", "alice")


async def test_a_client_that_names_no_role_believes_no_service(tmp_path: Path) -> None:
    """All of them are at one address, and one could pass for another."""
    authority = an_authority()
    tokens = {hash_token("of-alice"): Token("alice", "viewer")}
    metadata = (("authorization", "Bearer of-alice"),)
    async with serving(tmp_path, await enrolled(authority, "gas"), tokens) as toy:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        async with aio.secure_channel(toy.address, credentials) as channel:
            found = await failure(stub_on(channel).GetBudget(REQUEST, metadata=metadata))

    assert found == ("UNAVAILABLE", "")


async def test_a_token_names_no_service_where_services_have_certificates(tmp_path: Path) -> None:
    authority = an_authority()
    tokens = {hash_token("forged"): Token("linker", "linker")}
    async with serving(tmp_path, await enrolled(authority, "gas"), tokens) as toy:
        channel = connect_with_token(toy.address, "gas", token="forged", authority=authority.pem)
        async with channel:
            found = await failure(stub_on(channel).GetBudget(REQUEST))

    assert found == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_token_that_is_removed_ends_its_open_connection(tmp_path: Path) -> None:
    authority = an_authority()
    tokens = {hash_token("of-alice"): Token("alice", "viewer")}
    async with serving(tmp_path, await enrolled(authority, "gas"), tokens) as toy:
        channel = connect_with_token(toy.address, "gas", token="of-alice", authority=authority.pem)
        async with channel:
            stub = stub_on(channel)
            await stub.GetBudget(REQUEST)
            toy.let_in({})
            took = await seconds_until("TOKEN_INVALID", lambda: stub.GetBudget(REQUEST))

    assert took <= NOTICED_SECONDS


async def test_the_lines_of_old_certificates_are_closed(tmp_path: Path) -> None:
    authority = an_authority()
    linker: Membership = await enrolled(authority, "linker")
    async with (
        serving(tmp_path, await enrolled(authority, "gas")) as toy,
        Mutual(linker).connect(toy.peer_address, "gas") as channel,
    ):
        stub = stub_on(channel)
        for _ in range(5):
            await stub.GetBudget(REQUEST)
            await linker.enrol()

        assert len(channel._replaced) <= 2
