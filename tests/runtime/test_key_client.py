"""The port `Signer` over gRPC: how the key manager is asked to use a key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import keymanager_pb2, use_pb2
from runtime.clients.keys import KeymanagerClient
from runtime.ports import (
    Authorized,
    FarcasterSignature,
    RunFails,
    SignedTransaction,
    WebRequest,
)
from tests.runtime.peers import Peers, serving


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
async def channel(peers: Peers) -> AsyncIterator[aio.Channel]:
    async with serving(peers) as channel:
        yield channel


async def test_keys_are_used_for_their_purpose_only(peers: Peers, channel: aio.Channel) -> None:
    signed = keymanager_pb2.SignResponse(signature=action_pb2.Signature(key="k", value=b"v"))
    peers.answers += [signed, signed, signed]
    client = KeymanagerClient(channel)
    await client.sign_receipt("digest")
    await client.sign_request("secrets/a", b"message", account="agents/a")
    assert await client.hmac_sha256("secrets/h", b"message", account="agents/a") == b"v"
    receipt, request, code = peers.requests
    assert (code.hmac_sha256, code.message, code.account) == (b"message", b"", "agents/a")
    assert (receipt.key, receipt.purpose) == ("keys/receipts", keymanager_pb2.PURPOSE_RECEIPT)
    assert (request.key, request.purpose) == ("secrets/a", keymanager_pb2.PURPOSE_REQUEST)


async def test_a_message_of_farcaster_is_signed_as_what_it_is(
    peers: Peers, channel: aio.Channel
) -> None:
    made = action_pb2.Signature(key="k", value=b"v", public_key=b"p")
    peers.answers += [keymanager_pb2.SignResponse(signature=made, hash=b"h")]
    client = KeymanagerClient(channel)
    signed = await client.sign_farcaster("secrets/a", b"data", account="agents/a")
    assert signed == FarcasterSignature(b"h", b"v", b"p")
    (request,) = peers.requests
    assert (request.WhichOneof("payload"), request.farcaster_message) == (
        "farcaster_message",
        b"data",
    )
    assert (request.key, request.account) == ("secrets/a", "agents/a")
    assert request.purpose == keymanager_pb2.PURPOSE_REQUEST


async def test_a_transaction_is_signed_by_the_key_whose_address_was_told(
    peers: Peers, channel: aio.Channel
) -> None:
    told = keymanager_pb2.GetPublicKeyResponse(public_key=b"p", address="0xAb")
    made = keymanager_pb2.SignResponse(signed_transaction=b"raw", hash=b"h", address="0xAb")
    peers.answers += [told, made, keymanager_pb2.GetPublicKeyResponse(public_key=b"p")]
    client = KeymanagerClient(channel)
    assert await client.evm_address("secrets/a", account="agents/a") == "0xab"
    signed = await client.sign_transaction("secrets/a", b"unsigned", account="agents/a")
    assert signed == SignedTransaction(b"raw", b"h", "0xab")
    with pytest.raises(RunFails, match="CREDENTIAL_REFUSED"):
        await client.evm_address("secrets/of-another-kind", account="agents/a")
    asked, request, _ = peers.requests
    assert (asked.key, asked.account) == ("secrets/a", "agents/a")
    assert (request.transaction, request.account) == (b"unsigned", "agents/a")
    assert request.purpose == keymanager_pb2.PURPOSE_REQUEST


async def test_a_request_is_authenticated_as_its_scheme_signs_it(
    peers: Peers, channel: aio.Channel
) -> None:
    headers = {"authorization": "OAuth …"}
    peers.answers += [use_pb2.AuthorizeRequestResponse(headers=headers)]
    request = WebRequest("oauth1", "POST", "https://api.x.com/2/tweets", body=b"{}")
    client = KeymanagerClient(channel)
    authorized = await client.authorize_request("secrets/x", request, account="agents/a")
    assert authorized == Authorized(headers)
    (asked,) = peers.requests
    assert (asked.credential, asked.method, asked.url) == ("secrets/x", "POST", request.url)
    assert asked.scheme == use_pb2.AuthorizeRequestRequest.SCHEME_OAUTH1
    assert (asked.body_digest.size_bytes, asked.account) == (2, "agents/a")
    assert not asked.HasField("presign")


async def test_a_key_that_is_sent_as_it_is_is_asked_for_with_its_place(
    peers: Peers, channel: aio.Channel
) -> None:
    url = "https://api.example.org/bot1:a/send"
    peers.answers += [use_pb2.AuthorizeRequestResponse(url=url)]
    peers.answers += [use_pb2.AuthorizeRequestResponse(headers={"x-api-key": "k"})] * 2
    client = KeymanagerClient(channel)
    requests = [
        WebRequest("key_url", "POST", "https://api.example.org/bot{key}/send"),
        WebRequest("bearer", "POST", "https://api.example.org/", token_type="Bot"),
        WebRequest("key_header", "POST", "https://api.example.org/", key_header="x-api-key"),
    ]
    authorized = [
        await client.authorize_request("secrets/a", request, account="agents/a")
        for request in requests
    ]
    assert authorized[0] == Authorized({}, url)
    in_path, bearer, in_header = peers.requests
    assert in_path.scheme == use_pb2.AuthorizeRequestRequest.SCHEME_KEY_URL
    assert (bearer.token_type, in_header.key_header) == ("Bot", "x-api-key")
    # What is printed of a request, such as in a log, has nothing to use.
    assert "1:a" not in repr(authorized[0])


async def test_the_key_of_bundles_is_asked_for(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [keymanager_pb2.GetPublicKeyResponse(public_key=b"key")]
    assert await KeymanagerClient(channel).bundle_key() == b"key"
    assert peers.requests[0].key == "keys/bundles"
