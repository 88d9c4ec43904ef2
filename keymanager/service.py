"""The contract of the key manager: parse, call the vault, build; it takes no decision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.errors import InvalidField
from chassis.fields import page_limit, page_start, page_token, require_request_id, require_size
from chassis.identity import AUDITORS, OPERATOR, PEOPLE, current_caller

from .identity.enrolment import Enrolment
from .identity.revocations import Revocations
from .identity.service import IDENTITY_CALLERS, IdentityMethods
from .journal import Asker
from .messages.secrets import (
    grace_from_proto,
    key_name,
    kind_from_proto,
    rotatable_name,
    secret_name,
    secret_to_proto,
    tenant_name,
)
from .messages.uses import (
    AnyOperation,
    account_from_proto,
    purpose_from_proto,
    signed_to_proto,
    signing_from_proto,
    signings_from_proto,
    within,
)
from .platform.port import Platform
from .platform.quotes import quote_over
from .signing import Purpose
from .uses.attributed import Attribute
from .vault import Vault

if TYPE_CHECKING:
    from chassis.interceptors import Context

VALUE_BYTES_MAX = 64 * 1024
BATCH_MAX = 256
NONCE_BYTES = 32

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["KeymanagerService"]

_OPERATOR = frozenset({OPERATOR})
_SIGNERS = frozenset({"assembler", "runtime"})

CALLERS = {
    "PutSecret": _OPERATOR,
    "RotateSecret": _OPERATOR,
    "ShredSecret": _OPERATOR,
    "ShredTenant": _OPERATOR,
    "ListSecrets": AUDITORS,
    "GetSecret": AUDITORS | {"assembler"},
    "DisableSecret": _OPERATOR,
    "EnableSecret": _OPERATOR,
    "Sign": _SIGNERS,
    "SignBatch": _SIGNERS,
    "GetPublicKey": PEOPLE | _SIGNERS,
    "GetQuote": PEOPLE,
    **IDENTITY_CALLERS,
}


class KeymanagerService(IdentityMethods):
    """Keys are used, not handed out."""

    def __init__(
        self, vault: Vault, platform: Platform, enrolment: Enrolment, revocations: Revocations
    ) -> None:
        super().__init__(enrolment, revocations)
        self._vault = vault
        self._platform = platform

    async def PutSecret(
        self, request: pb.PutSecretRequest, context: Context
    ) -> pb.PutSecretResponse:
        require_size("value", request.value, size_min=0, size_max=VALUE_BYTES_MAX)
        secret = await self._vault.put(
            require_request_id(request.request_id),
            secret_name(request.name),
            kind_from_proto(request.kind),
            request.value,
            generate=request.generate,
            tenant=tenant_name(request.tenant),
            by=Asker(current_caller()),
        )
        return pb.PutSecretResponse(secret=secret_to_proto(secret))

    async def RotateSecret(
        self, request: pb.RotateSecretRequest, context: Context
    ) -> pb.RotateSecretResponse:
        require_size("value", request.value, size_min=0, size_max=VALUE_BYTES_MAX)
        secret = await self._vault.rotate(
            require_request_id(request.request_id),
            rotatable_name(request.name),
            request.value,
            generate=request.generate,
            grace=grace_from_proto(request.grace),
            by=Asker(current_caller()),
        )
        return pb.RotateSecretResponse(secret=secret_to_proto(secret))

    async def ShredSecret(
        self, request: pb.ShredSecretRequest, context: Context
    ) -> pb.ShredSecretResponse:
        by = Asker(current_caller())
        if request.version:
            name = rotatable_name(request.name)
            await self._vault.shred_version(name, request.version, by=by)
        else:
            await self._vault.shred(secret_name(request.name), by=by)
        return pb.ShredSecretResponse()

    async def ShredTenant(
        self, request: pb.ShredTenantRequest, context: Context
    ) -> pb.ShredTenantResponse:
        if not request.tenant:
            raise InvalidField("tenant", "is required, such as 'tenants/acme'")
        tenant, by = tenant_name(request.tenant), Asker(current_caller())
        return pb.ShredTenantResponse(secret_count=await self._vault.shred_tenant(tenant, by=by))

    async def ListSecrets(
        self, request: pb.ListSecretsRequest, context: Context
    ) -> pb.ListSecretsResponse:
        limit = page_limit(request.page_size)
        (after,) = page_start(request.page_token) or ("",)
        found = await asyncio.to_thread(self._vault.describe_all, after=after, limit=limit + 1)
        page = found[:limit]
        return pb.ListSecretsResponse(
            secrets=map(secret_to_proto, page),
            next_page_token=page_token(page[-1].name) if len(found) > limit else "",
        )

    async def GetSecret(
        self, request: pb.GetSecretRequest, context: Context
    ) -> pb.GetSecretResponse:
        secret = await asyncio.to_thread(self._vault.describe, secret_name(request.name))
        return pb.GetSecretResponse(secret=secret_to_proto(secret))

    async def DisableSecret(
        self, request: pb.DisableSecretRequest, context: Context
    ) -> pb.DisableSecretResponse:
        name, by = secret_name(request.name), Asker(current_caller())
        secret = await self._vault.disable(name, version=request.version, by=by)
        return pb.DisableSecretResponse(secret=secret_to_proto(secret))

    async def EnableSecret(
        self, request: pb.EnableSecretRequest, context: Context
    ) -> pb.EnableSecretResponse:
        name, by = secret_name(request.name), Asker(current_caller())
        secret = await self._vault.enable(name, version=request.version, by=by)
        return pb.EnableSecretResponse(secret=secret_to_proto(secret))

    async def Sign(self, request: pb.SignRequest, context: Context) -> pb.SignResponse:
        key, by = _signer(request)
        operations = [signing_from_proto(request)]
        return (await self._sign(key, operations, "Sign", by=by, version=request.version))[0]

    async def SignBatch(
        self, request: pb.SignBatchRequest, context: Context
    ) -> pb.SignBatchResponse:
        require_size("requests", request.requests, size_max=BATCH_MAX)
        first = request.requests[0]
        with within("requests[0]"):
            key, by = _signer(first)
        operations = signings_from_proto(request.requests)
        answers = await self._sign(key, operations, "SignBatch", by=by, version=first.version)
        return pb.SignBatchResponse(
            signatures=[answer.signature for answer in answers], responses=answers
        )

    async def _sign(
        self, key: str, operations: Sequence[AnyOperation], method: str, *, by: Asker, version: int
    ) -> list[pb.SignResponse]:
        wanted = [Attribute(operation) for operation in operations]
        made = await self._vault.use_all(key, wanted, method=method, by=by, version=version)
        return [
            signed_to_proto(key, operation, one.result, one.public_key)
            for operation, one in zip(operations, made, strict=True)
        ]

    async def GetPublicKey(
        self, request: pb.GetPublicKeyRequest, context: Context
    ) -> pb.GetPublicKeyResponse:
        caller = current_caller()
        # Who may list secrets learns nothing from this; others need it to check what was signed.
        account = account_from_proto(request.account)
        asker = Asker(caller, account, Purpose.REQUEST.value)
        by = None if caller in AUDITORS else asker
        found = await self._vault.public_key(key_name(request.key), by=by)
        return pb.GetPublicKeyResponse(
            algorithm=found.algorithm, public_key=found.value, address=found.address
        )

    async def GetQuote(self, request: pb.GetQuoteRequest, context: Context) -> pb.GetQuoteResponse:
        require_size("nonce", request.nonce, size_min=NONCE_BYTES, size_max=NONCE_BYTES)
        made = await asyncio.to_thread(quote_over, self._platform, request.nonce)
        quote = pb.Quote(
            measurement=made.measurement.code,
            nonce=request.nonce,
            hardware=made.hardware,
            signature=made.signature,
            content=made.to_bytes(),
        )
        return pb.GetQuoteResponse(quote=quote)


def _signer(request: pb.SignRequest) -> tuple[str, Asker]:
    key, purpose = key_name(request.key), purpose_from_proto(request.purpose)
    return key, Asker(current_caller(), account_from_proto(request.account), purpose.value)
