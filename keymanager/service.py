"""The contract of the key manager: parse, call the vault, build; it takes no decision."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import keymanager_pb2_grpc
from chassis.errors import InvalidField, NotImplementedYet
from chassis.fields import (
    SECRET_NAME,
    page_limit,
    page_start,
    page_token,
    require_match,
    require_request_id,
    require_size,
)
from chassis.identity import AUDITORS, OPERATOR, PEOPLE, current_caller
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .identity.enrolment import Enrolment
from .identity.revocations import Revocations
from .identity.service import IDENTITY_CALLERS, IdentityMethods
from .secret import Kind, Secret
from .signing import SERVICE_KEYS, Purpose
from .vault import Vault

if TYPE_CHECKING:
    from chassis.interceptors import Context

VALUE_BYTES_MAX = 64 * 1024
MESSAGE_BYTES_MAX = 64 * 1024

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["KeymanagerService"]

_OPERATOR = frozenset({OPERATOR})
_SIGNERS = frozenset({"assembler", "runtime"})

CALLERS = {
    "PutSecret": _OPERATOR,
    "RotateSecret": _OPERATOR,
    "ShredSecret": _OPERATOR,
    "ListSecrets": AUDITORS,
    "GetSecret": AUDITORS | {"assembler"},
    "Sign": _SIGNERS,
    "GetPublicKey": PEOPLE | _SIGNERS,
    "DisableSecret": _OPERATOR,
    "ReleaseSecret": _OPERATOR,
    "SignBatch": _OPERATOR,
    "AuthorizeRequest": _OPERATOR,
    "GenerateDataKey": _OPERATOR,
    "Encrypt": _OPERATOR,
    "Decrypt": _OPERATOR,
    "Rewrap": _OPERATOR,
    "EvaluateUse": _OPERATOR,
    "GetQuote": PEOPLE,
    "ListAuditRecords": AUDITORS,
    "Backup": _OPERATOR,
    "Restore": _OPERATOR,
    "RotateRoot": _OPERATOR,
    **IDENTITY_CALLERS,
}

_KEY_NAME = re.compile("|".join((SECRET_NAME.pattern, *SERVICE_KEYS)))
_KINDS = {pb.KIND_API_KEY: Kind.API_KEY, pb.KIND_ED25519: Kind.ED25519}
_PURPOSES = {
    pb.PURPOSE_BUNDLE: Purpose.BUNDLE,
    pb.PURPOSE_RECEIPT: Purpose.RECEIPT,
    pb.PURPOSE_REQUEST: Purpose.REQUEST,
}


def hosted(servicer: KeymanagerService) -> Hosted:
    """Return the service with its authorisation table."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: keymanager_pb2_grpc.add_KeymanagerServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


@refusing_the_rest(DESCRIPTOR)
class KeymanagerService(IdentityMethods):
    """Keys are used, not handed out."""

    def __init__(self, vault: Vault, enrolment: Enrolment, revocations: Revocations) -> None:
        super().__init__(enrolment, revocations)
        self._vault = vault

    async def PutSecret(
        self, request: pb.PutSecretRequest, context: Context
    ) -> pb.PutSecretResponse:
        require_size("value", request.value, size_min=0, size_max=VALUE_BYTES_MAX)
        secret = await asyncio.to_thread(
            self._vault.put,
            require_request_id(request.request_id),
            _secret_name(request.name),
            _kind_from_proto(request.kind),
            request.value,
            generate=request.generate,
        )
        return pb.PutSecretResponse(secret=_secret_to_proto(secret))

    async def RotateSecret(
        self, request: pb.RotateSecretRequest, context: Context
    ) -> pb.RotateSecretResponse:
        require_size("value", request.value, size_min=0, size_max=VALUE_BYTES_MAX)
        secret = await asyncio.to_thread(
            self._vault.rotate,
            require_request_id(request.request_id),
            _secret_name(request.name),
            request.value,
            generate=request.generate,
        )
        return pb.RotateSecretResponse(secret=_secret_to_proto(secret))

    async def ShredSecret(
        self, request: pb.ShredSecretRequest, context: Context
    ) -> pb.ShredSecretResponse:
        await asyncio.to_thread(self._vault.shred, _secret_name(request.name))
        return pb.ShredSecretResponse()

    async def ListSecrets(
        self, request: pb.ListSecretsRequest, context: Context
    ) -> pb.ListSecretsResponse:
        limit = page_limit(request.page_size)
        (after,) = page_start(request.page_token) or ("",)
        found = await asyncio.to_thread(self._vault.describe_all, after=after, limit=limit + 1)
        page = found[:limit]
        return pb.ListSecretsResponse(
            secrets=map(_secret_to_proto, page),
            next_page_token=page_token(page[-1].name) if len(found) > limit else "",
        )

    async def GetSecret(
        self, request: pb.GetSecretRequest, context: Context
    ) -> pb.GetSecretResponse:
        secret = await asyncio.to_thread(self._vault.describe, _secret_name(request.name))
        return pb.GetSecretResponse(secret=_secret_to_proto(secret))

    async def Sign(self, request: pb.SignRequest, context: Context) -> pb.SignResponse:
        require_size("message", request.message, size_max=MESSAGE_BYTES_MAX)
        signature = await asyncio.to_thread(
            self._vault.sign,
            _key_name(request.key),
            _purpose_from_proto(request.purpose),
            request.message,
            caller=current_caller(),
        )
        return pb.SignResponse(
            signature=action_pb2.Signature(
                key=signature.key,
                algorithm="ed25519",
                public_key=signature.public_key,
                value=signature.value,
            )
        )

    async def GetPublicKey(
        self, request: pb.GetPublicKeyRequest, context: Context
    ) -> pb.GetPublicKeyResponse:
        public_key = await asyncio.to_thread(self._vault.public_key, _key_name(request.key))
        return pb.GetPublicKeyResponse(algorithm="ed25519", public_key=public_key)


def _secret_name(value: str) -> str:
    return require_match("name", value, SECRET_NAME, example="secrets/board-key")


def _key_name(value: str) -> str:
    return require_match("key", value, _KEY_NAME, example="secrets/board-key")


def _kind_from_proto(kind: pb.Kind.ValueType) -> Kind:
    if kind in _KINDS:
        return _KINDS[kind]
    if kind != pb.KIND_UNSPECIFIED and kind in pb.Kind.values():
        raise NotImplementedYet(pb.Kind.Name(kind))
    raise InvalidField("kind", "is required, such as KIND_API_KEY")


def _purpose_from_proto(purpose: pb.Purpose.ValueType) -> Purpose:
    if purpose not in _PURPOSES:
        raise InvalidField("purpose", "is required, such as PURPOSE_REQUEST")
    return _PURPOSES[purpose]


def _secret_to_proto(secret: Secret) -> pb.Secret:
    create_time, rotate_time = Timestamp(), Timestamp()
    create_time.FromDatetime(secret.create_time)
    rotate_time.FromDatetime(secret.rotate_time)
    return pb.Secret(
        name=secret.name,
        kind=pb.Kind.ValueType(secret.kind),
        version=secret.version,
        create_time=create_time,
        rotate_time=rotate_time,
    )
