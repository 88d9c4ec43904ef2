"""The port `Signer` over gRPC: keys are used in the key manager, and never come here."""

from __future__ import annotations

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc, use_pb2, use_pb2_grpc
from chassis.canonical import sha256_hex

from ..bundles import BUNDLE_KEY
from ..facts import Failure, Signature
from ..ports import (
    Authorized,
    FarcasterSignature,
    PersonAwaited,
    RunFails,
    SignedTransaction,
    WebRequest,
)
from .refusals import Known, until_answered, within_run
from .values import signature_of

RECEIPT_KEY = "keys/receipts"


class KeymanagerClient:
    """`Signer` over a channel to the key manager."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = keymanager_pb2_grpc.KeymanagerServiceStub(channel)
        self._uses = use_pb2_grpc.UseServiceStub(channel)

    async def bundle_key(self) -> bytes:
        """Return the public key of bundles; a key manager that cannot tell is not available."""
        request = keymanager_pb2.GetPublicKeyRequest(key=BUNDLE_KEY)
        with until_answered("keymanager"):
            response = await self._stub.GetPublicKey(request)
        return response.public_key

    async def sign_receipt(self, sha256: str) -> Signature:
        """Sign a receipt; a key manager that cannot is not available: a run ends with a bill."""
        purpose = keymanager_pb2.PURPOSE_RECEIPT
        request = keymanager_pb2.SignRequest(
            key=RECEIPT_KEY, purpose=purpose, message=sha256.encode()
        )
        with until_answered("keymanager"):
            response = await self._stub.Sign(request)
        return signature_of(response.signature)

    async def sign_request(self, credential: str, message: bytes, *, account: str) -> Signature:
        """Sign with a secret that an agent names; see `Signer`."""
        purpose = keymanager_pb2.PURPOSE_REQUEST
        request = keymanager_pb2.SignRequest(
            key=credential, purpose=purpose, message=message, account=account
        )
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._stub.Sign(request)
        return signature_of(response.signature)

    async def sign_farcaster(
        self, credential: str, data: bytes, *, account: str
    ) -> FarcasterSignature:
        """Sign a message of Farcaster; see `Signer`."""
        purpose = keymanager_pb2.PURPOSE_REQUEST
        request = keymanager_pb2.SignRequest(
            key=credential, purpose=purpose, farcaster_message=data, account=account
        )
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._stub.Sign(request)
        signature = response.signature
        return FarcasterSignature(response.hash, signature.value, signature.public_key)

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        """Authenticate a request; see `Signer`."""
        asked = use_pb2.AuthorizeRequestRequest(
            credential=credential,
            method=request.method,
            url=request.url,
            scheme=_SCHEME.Value(f"SCHEME_{request.scheme.upper()}"),
            account=account,
            form=request.form,
            headers=request.headers,
            region=request.region,
            service=request.service,
            key_id=request.key_id,
            body_json=request.body_json,
            token_type=request.token_type,
            key_header=request.key_header,
        )
        if request.body:
            digest = action_pb2.Digest(
                sha256=sha256_hex(request.body), size_bytes=len(request.body)
            )
            asked.body_digest.CopyFrom(digest)
        if request.presign_seconds:
            asked.presign.FromSeconds(request.presign_seconds)
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._uses.AuthorizeRequest(asked)
        return Authorized(dict(response.headers), response.url)

    async def evm_address(self, credential: str, *, account: str) -> str:
        """Return an address; see `Signer`."""
        request = keymanager_pb2.GetPublicKeyRequest(key=credential, account=account)
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._stub.GetPublicKey(request)
        if not response.address:
            told = f"{credential} is no key of an EVM chain; use one of the kind secp256k1"
            raise RunFails(Failure("CREDENTIAL_REFUSED", told))
        return response.address.lower()

    async def sign_transaction(
        self, credential: str, transaction: bytes, *, account: str
    ) -> SignedTransaction:
        """Sign a transaction; see `Signer`."""
        purpose = keymanager_pb2.PURPOSE_REQUEST
        request = keymanager_pb2.SignRequest(
            key=credential, purpose=purpose, transaction=transaction, account=account
        )
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._stub.Sign(request)
        return SignedTransaction(
            response.signed_transaction, response.hash, response.address.lower()
        )

    async def hmac_sha256(self, credential: str, message: bytes, *, account: str) -> bytes:
        """Return the code of a message; see `Signer`."""
        purpose = keymanager_pb2.PURPOSE_REQUEST
        request = keymanager_pb2.SignRequest(
            key=credential, purpose=purpose, hmac_sha256=message, account=account
        )
        with within_run("keymanager", "CREDENTIAL_REFUSED", _AWAITED):
            response = await self._stub.Sign(request)
        return response.signature.value


_SCHEME = use_pb2.AuthorizeRequestRequest.Scheme
_AWAITED: Known = {
    "APPROVAL_REQUIRED": lambda remote: PersonAwaited(
        f"a person who decides {remote.metadata.get('approval', '')}",
        remote.metadata.get("approval", ""),
        remote.metadata.get("rule", ""),
    )
}
