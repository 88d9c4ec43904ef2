"""Which use of a key `policy evaluate` asks about, from what stands on its command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.duration_pb2 import Duration

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1.policy_pb2 import EvaluateUseRequest
from actionvm.keymanager.v1.use_pb2 import (
    AuthorizeRequestRequest,
    DecryptRequest,
    EncryptRequest,
    GenerateDataKeyRequest,
    ReleaseSecretRequest,
    RewrapRequest,
)

from .errors import CommandError
from .manifest import read_limited

TRANSACTION_BYTES_MAX = 64 * 1024
TYPED_DATA_BYTES_MAX = 64 * 1024

_KNOWLEDGE = "knowledge"


@dataclass(frozen=True)
class Wanted:
    """A use as a person writes it; of most parts only one is there."""

    secret: str
    purpose: str = "request"
    message: str = ""
    transaction: str = ""
    typed_data: Path | None = None
    personal_message: str = ""
    url: str = ""
    scheme: str = ""
    service: str = ""
    region: str = ""
    key_id: str = ""
    key_header: str = ""
    presign_seconds: int = 0
    release: bool = False
    public_key: bool = False
    data: str = ""
    context: str = ""


def evaluation_of(wanted: Wanted, *, caller: str, agent: str) -> EvaluateUseRequest:
    """Return what to ask; a caller that is not named is who makes such uses."""
    kinds = {
        "--url": (wanted.url, _authorization, "runtime"),
        "--release": (wanted.release, _release, "linker"),
        "--public-key": (wanted.public_key, _public_key, "runtime"),
        "--data": (wanted.data, _data_use, _KNOWLEDGE),
        "--message": (wanted.message, _signature, "runtime"),
        "--transaction": (wanted.transaction, _signature, "runtime"),
        "--typed-data": (wanted.typed_data, _signature, "runtime"),
        "--personal-message": (wanted.personal_message, _signature, "runtime"),
    }
    chosen = [option for option, (value, _, _) in kinds.items() if value]
    if len(chosen) > 1:
        problem = f"{' and '.join(chosen)} are different uses"
        raise _invalid(chosen[1], problem, fix="evaluate one after the other")
    _, read, usual_caller = kinds[chosen[0] if chosen else "--message"]
    request = read(wanted)
    request.caller, request.account = caller or usual_caller, agent
    return request


def _signature(wanted: Wanted) -> EvaluateUseRequest:
    name = f"PURPOSE_{wanted.purpose.upper()}"
    if name not in pb.Purpose.keys():  # noqa: SIM118  # not a mapping
        fix = "one of request, bundle, receipt"
        raise _invalid("--purpose", f"--purpose {wanted.purpose} is none", fix=fix)
    use = pb.SignRequest(key=wanted.secret, purpose=pb.Purpose.Value(name))
    if wanted.transaction:
        use.transaction = _parse_hex(wanted.transaction)
    elif wanted.typed_data:
        content = read_limited(
            wanted.typed_data, TYPED_DATA_BYTES_MAX, what="the typed data", field="--typed-data"
        )
        use.typed_data = content.decode(errors="replace")
    elif wanted.personal_message:
        use.personal_message = wanted.personal_message.encode()
    else:
        # Any message: a policy does not look into one that has no form.
        use.message = (wanted.message or "evaluate").encode()
    return EvaluateUseRequest(use=use)


def _authorization(wanted: Wanted) -> EvaluateUseRequest:
    # Mail has no method.
    method, _, address = wanted.url.rpartition(" ")
    asked = AuthorizeRequestRequest(
        credential=wanted.secret,
        method=method,
        url=address,
        scheme=_scheme_to_proto(wanted.scheme),
        service=wanted.service,
        region=wanted.region,
        key_id=wanted.key_id,
        key_header=wanted.key_header,
    )
    if wanted.presign_seconds:
        asked.presign.CopyFrom(Duration(seconds=wanted.presign_seconds))
    return EvaluateUseRequest(authorize=asked)


def _release(wanted: Wanted) -> EvaluateUseRequest:
    asked = ReleaseSecretRequest(name=wanted.secret, recipient_key=_recipient_key())
    return EvaluateUseRequest(release=asked)


def _public_key(wanted: Wanted) -> EvaluateUseRequest:
    return EvaluateUseRequest(public_key=pb.GetPublicKeyRequest(key=wanted.secret))


def _data_use(wanted: Wanted) -> EvaluateUseRequest:
    if wanted.data not in _DATA_USES:
        fix = f"one of {', '.join(_DATA_USES)}"
        raise _invalid("--data", f"--data {wanted.data} is none", fix=fix)
    return _DATA_USES[wanted.data](wanted.secret, wanted.context)


_DataUse: TypeAlias = Callable[[str, str], EvaluateUseRequest]
_DATA_USES: Mapping[str, _DataUse] = {
    "encrypt": lambda key, context: EvaluateUseRequest(
        encrypt=EncryptRequest(key=key, context=context, plaintext=b"evaluate")
    ),
    # Without a ciphertext, it is about one of the first version of the key.
    "decrypt": lambda key, context: EvaluateUseRequest(
        decrypt=DecryptRequest(key=key, context=context, recipient_key=_recipient_key())
    ),
    "rewrap": lambda key, context: EvaluateUseRequest(
        rewrap=RewrapRequest(key=key, context=context)
    ),
    "generate-data-key": lambda key, context: EvaluateUseRequest(
        generate_data_key=GenerateDataKeyRequest(
            key=key, context=context, recipient_key=_recipient_key()
        )
    ),
}


def _recipient_key() -> bytes:
    """Return the key of a recipient that nobody is."""
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


def _scheme_to_proto(text: str) -> AuthorizeRequestRequest.Scheme.ValueType:
    name = f"SCHEME_{text.upper().replace('-', '_')}"
    if name not in AuthorizeRequestRequest.Scheme.keys():  # noqa: SIM118  # not a mapping
        fix = "one of oauth1, aws-sigv4, cdp, cdp-wallet, basic, bearer, key-header, key-url, smtp"
        raise _invalid("--scheme", f"--scheme {text or 'is missing'}", fix=fix)
    return AuthorizeRequestRequest.Scheme.Value(name)


def _parse_hex(text: str) -> bytes:
    try:
        content = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        content = b""
    if not 0 < len(content) <= TRANSACTION_BYTES_MAX:
        raise _invalid("--transaction", "--transaction holds no hexadecimal digits", fix="")
    return content


def _invalid(field: str, problem: str, *, fix: str) -> CommandError:
    return CommandError(problem, reason="INVALID_FIELD", field=field, fix=fix)
