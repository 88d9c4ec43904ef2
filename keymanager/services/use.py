"""The contract of uses besides signatures: requests, envelopes, and bearer keys on lease."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import use_pb2 as pb
from actionvm.keymanager.v1 import use_pb2_grpc
from chassis.fields import UUID, require_match
from chassis.identity import OPERATOR, current_caller

from ..journal import Asker
from ..messages.secrets import data_key_name, key_name, secret_name, time_to_proto
from ..messages.uses import account_from_proto, authorization_from_proto, authorized_to_proto
from ..signing import Purpose
from ..uses.envelopes import Decrypt, Encrypt, GenerateDataKey, Rewrap
from ..uses.handover import Release
from ..vault import Vault

if TYPE_CHECKING:
    from chassis.interceptors import Context

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["UseService"]

_KNOWLEDGE = frozenset({"knowledge"})
_LINKER = frozenset({"linker"})

CALLERS = {
    "AuthorizeRequest": frozenset({"runtime"}),
    "GenerateDataKey": _KNOWLEDGE,
    "Encrypt": _KNOWLEDGE,
    "Decrypt": _KNOWLEDGE,
    "Rewrap": _KNOWLEDGE,
    "ReleaseSecret": _LINKER,
    "RenewLease": _LINKER,
    "RevokeLease": _LINKER | {OPERATOR},
}

_LEASE_NAME = re.compile(f"leases/{UUID}")


class UseService(use_pb2_grpc.UseServiceServicer):
    """What is used here is decided, counted and recorded as every use."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def AuthorizeRequest(
        self, request: pb.AuthorizeRequestRequest, context: Context
    ) -> pb.AuthorizeRequestResponse:
        credential = key_name(request.credential, "credential")
        by = _asker(Purpose.REQUEST, request.account)
        operation = authorization_from_proto(request)
        made = await self._vault.use(
            credential, operation, method="AuthorizeRequest", by=by, version=request.version
        )
        return authorized_to_proto(made)

    async def GenerateDataKey(
        self, request: pb.GenerateDataKeyRequest, context: Context
    ) -> pb.GenerateDataKeyResponse:
        operation = GenerateDataKey(request.context, request.recipient_key)
        made = await self._vault.use(
            data_key_name(request.key),
            operation,
            method="GenerateDataKey",
            by=_asker(Purpose.KNOWLEDGE, request.account),
        )
        return pb.GenerateDataKeyResponse(wrapped_key=made.wrapped_key, sealed_key=made.sealed_key)

    async def Encrypt(self, request: pb.EncryptRequest, context: Context) -> pb.EncryptResponse:
        operation = Encrypt(request.context, request.plaintext)
        by = _asker(Purpose.KNOWLEDGE, request.account)
        made = await self._vault.use(data_key_name(request.key), operation, method="Encrypt", by=by)
        return pb.EncryptResponse(ciphertext=made)

    async def Decrypt(self, request: pb.DecryptRequest, context: Context) -> pb.DecryptResponse:
        operation = Decrypt(request.context, request.ciphertext, request.recipient_key)
        by = _asker(Purpose.KNOWLEDGE, request.account)
        made = await self._vault.use(data_key_name(request.key), operation, method="Decrypt", by=by)
        return pb.DecryptResponse(sealed_value=made)

    async def Rewrap(self, request: pb.RewrapRequest, context: Context) -> pb.RewrapResponse:
        operation = Rewrap(request.context, request.ciphertext)
        by = _asker(Purpose.KNOWLEDGE, request.account)
        made = await self._vault.use(data_key_name(request.key), operation, method="Rewrap", by=by)
        return pb.RewrapResponse(ciphertext=made)

    async def ReleaseSecret(
        self, request: pb.ReleaseSecretRequest, context: Context
    ) -> pb.ReleaseSecretResponse:
        name, by = secret_name(request.name), _asker(Purpose.GENERATION, request.account)
        release = Release(Purpose.GENERATION.value, request.recipient_key)
        lease = await self._vault.release(name, release, by=by, version=request.version)
        return pb.ReleaseSecretResponse(
            sealed_value=lease.sealed_value,
            expire_time=time_to_proto(lease.expire_time),
            lease=lease.name,
            version=lease.version,
        )

    async def RenewLease(
        self, request: pb.RenewLeaseRequest, context: Context
    ) -> pb.RenewLeaseResponse:
        lease = await self._vault.renew(_lease_name(request.lease), by=Asker(current_caller()))
        return pb.RenewLeaseResponse(expire_time=time_to_proto(lease.expire_time))

    async def RevokeLease(
        self, request: pb.RevokeLeaseRequest, context: Context
    ) -> pb.RevokeLeaseResponse:
        caller = current_caller()
        name, is_operator = _lease_name(request.lease), caller == OPERATOR
        await self._vault.revoke(name, by=Asker(caller), is_operator=is_operator)
        return pb.RevokeLeaseResponse()


def _asker(purpose: Purpose, account: str) -> Asker:
    return Asker(current_caller(), account_from_proto(account), purpose.value)


def _lease_name(value: str) -> str:
    return require_match(
        "lease", value, _LEASE_NAME, example="leases/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"
    )
