"""Dry runs as the contract has them: which use of which secret one is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from actionvm.keymanager.v1 import policy_pb2 as pb
from chassis.errors import InvalidField
from chassis.fields import require_match

from ..journal import Asker
from ..signing import Purpose
from ..uses.envelopes import SAMPLE_CIPHERTEXT, Decrypt, Encrypt, GenerateDataKey, Rewrap
from ..uses.handover import Release
from ..uses.public import ShowPublicKey
from .secrets import data_key_name, key_name
from .uses import (
    AnyOperation,
    account_from_proto,
    authorization_from_proto,
    purpose_from_proto,
    signing_from_proto,
)

_SERVICE = re.compile(r"[a-z]{1,32}")


@dataclass(frozen=True)
class EvaluatedUse:
    """An operation with a secret that is not performed, and who would ask for it."""

    name: str
    operation: AnyOperation
    by: Asker


_Read: TypeAlias = Callable[[pb.EvaluateUseRequest], tuple[str, Purpose, AnyOperation]]


def evaluated_use(request: pb.EvaluateUseRequest) -> EvaluatedUse:
    """Return what a dry run is about, read as strictly as the use itself."""
    caller = require_match("caller", request.caller, _SERVICE, example="runtime")
    found = [field.name for field, _ in request.ListFields() if field.name in _USES]
    if len(found) != 1:
        raise InvalidField("use", f"is required, or one of {', '.join(_OTHERS)} instead")
    (field,) = found
    name, purpose, operation = _USES[field](request)
    account = account_from_proto(request.account)
    # A public key is seen by a service, for no agent.
    own = account_from_proto(getattr(getattr(request, field), "account", ""))
    if account and own and account != own:
        raise InvalidField(f"{field}.account", "is another one than account")
    return EvaluatedUse(name, operation, Asker(caller, account or own, purpose.value))


def _signing(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.use
    return key_name(asked.key), purpose_from_proto(asked.purpose), signing_from_proto(asked)


def _authorization(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.authorize
    name = key_name(asked.credential, "credential")
    return name, Purpose.REQUEST, authorization_from_proto(asked)


def _release(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked, purpose = request.release, Purpose.GENERATION
    return key_name(asked.name, "name"), purpose, Release(purpose.value, asked.recipient_key)


def _data_key(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.generate_data_key
    operation = GenerateDataKey(asked.context, asked.recipient_key)
    return data_key_name(asked.key), Purpose.KNOWLEDGE, operation


def _encryption(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.encrypt
    return data_key_name(asked.key), Purpose.KNOWLEDGE, Encrypt(asked.context, asked.plaintext)


def _decryption(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.decrypt
    ciphertext = asked.ciphertext or SAMPLE_CIPHERTEXT
    operation = Decrypt(asked.context, ciphertext, asked.recipient_key)
    return data_key_name(asked.key), Purpose.KNOWLEDGE, operation


def _rewrapping(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    asked = request.rewrap
    operation = Rewrap(asked.context, asked.ciphertext or SAMPLE_CIPHERTEXT)
    return data_key_name(asked.key), Purpose.KNOWLEDGE, operation


def _public_key(request: pb.EvaluateUseRequest) -> tuple[str, Purpose, AnyOperation]:
    return key_name(request.public_key.key), Purpose.REQUEST, ShowPublicKey()


_OTHERS: Mapping[str, _Read] = {
    "authorize": _authorization,
    "release": _release,
    "generate_data_key": _data_key,
    "encrypt": _encryption,
    "decrypt": _decryption,
    "rewrap": _rewrapping,
    "public_key": _public_key,
}
_USES: Mapping[str, _Read] = {"use": _signing, **_OTHERS}
