"""Uses of keys as the contract has them: which operation a request asks for, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import keymanager_pb2 as pb
from actionvm.keymanager.v1 import use_pb2
from chassis.errors import InvalidField
from chassis.fields import ACCOUNT_NAME, require_match

from ..signing import Purpose
from ..uses.basic import BasicHeaders
from ..uses.bearer import BEARER, BearerHeaders, KeyHeader, KeyUrl
from ..uses.farcaster import FarcasterSignature, SignFarcaster
from ..uses.jwt import CdpJwt, WalletJwt
from ..uses.keys import PublicKey
from ..uses.macs import Algorithm, Hmac
from ..uses.oauth1 import OAuth1Headers
from ..uses.operation import Headers, Operation
from ..uses.signatures import SignDigest, SignMessage
from ..uses.sigv4 import AwsHeaders, AwsPresign
from ..uses.smtp import SmtpLogin
from ..uses.transactions import SignedTransaction, SignTransaction
from ..uses.wallet import SignPersonalMessage, SignTypedData

AnyOperation: TypeAlias = Operation[object]
_Authorize: TypeAlias = use_pb2.AuthorizeRequestRequest

# The SHA-256 of nothing.
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def account_from_proto(account: str) -> str:
    """Return the agent on whose behalf something is used; empty if none is named."""
    if not account:
        return ""
    return require_match("account", account, ACCOUNT_NAME, example="agents/market-brief")


def purpose_from_proto(purpose: pb.Purpose.ValueType) -> Purpose:
    """Return why something is done."""
    if purpose not in _PURPOSES:
        raise InvalidField("purpose", "is required, such as PURPOSE_REQUEST")
    return _PURPOSES[purpose]


_PURPOSES = {
    pb.PURPOSE_BUNDLE: Purpose.BUNDLE,
    pb.PURPOSE_RECEIPT: Purpose.RECEIPT,
    pb.PURPOSE_REQUEST: Purpose.REQUEST,
    pb.PURPOSE_KNOWLEDGE: Purpose.KNOWLEDGE,
    pb.PURPOSE_GENERATION: Purpose.GENERATION,
}


def signing_from_proto(request: pb.SignRequest) -> AnyOperation:
    """Return what is to be signed, read strictly; what has no other form is a message."""
    payload = request.WhichOneof("payload")
    if payload is None:
        return SignMessage(purpose_from_proto(request.purpose), request.message)
    if request.message:
        raise InvalidField("message", f"is set together with {payload}; leave one of them out")
    return _SIGNINGS[payload](request)


def signings_from_proto(requests: Sequence[pb.SignRequest]) -> list[AnyOperation]:
    """Return what is to be signed together: payloads of one kind, with one key, for one purpose."""
    first, made = requests[0], list[AnyOperation]()
    payload = first.WhichOneof("payload")
    for index, request in enumerate(requests):
        with within(f"requests[{index}]"):
            for field in ("key", "version", "purpose", "account"):
                if getattr(request, field) != getattr(first, field):
                    raise InvalidField(field, "is not that of the first one")
            if (found := request.WhichOneof("payload")) != payload:
                raise InvalidField(found or "message", "is not what the first one has to sign")
            made.append(signing_from_proto(request))
    return made


@contextmanager
def within(path: str) -> Iterator[None]:
    """Name fields of a message by their path in the one that it is part of."""
    try:
        yield
    except InvalidField as error:
        raise InvalidField(f"{path}.{error.field}", error.problem) from error


_SIGNINGS: Mapping[str, Callable[[pb.SignRequest], AnyOperation]] = {
    "digest": lambda request: SignDigest(request.digest),
    "transaction": lambda request: SignTransaction(request.transaction),
    "typed_data": lambda request: SignTypedData(request.typed_data.encode()),
    "personal_message": lambda request: SignPersonalMessage(request.personal_message),
    "farcaster_message": lambda request: SignFarcaster(request.farcaster_message),
    "hmac_sha256": lambda request: Hmac(Algorithm.SHA256, request.hmac_sha256),
    "hmac_sha512": lambda request: Hmac(Algorithm.SHA512, request.hmac_sha512),
}


def signed_to_proto(
    key: str, operation: AnyOperation, result: object, public: PublicKey | None
) -> pb.SignResponse:
    """Return a signature with all that is needed to check it."""
    made = action_pb2.Signature(key=key)
    if public is not None:
        made.algorithm, made.public_key = public.algorithm, public.value
    elif isinstance(operation, Hmac):
        made.algorithm = f"hmac-{operation.algorithm.value}"
    answer = pb.SignResponse(signature=made, address=public.address if public else "")
    match result:
        case bytes():
            answer.signature.value = result
        case SignedTransaction():
            answer.signed_transaction, answer.hash = result.raw, result.hash
        case FarcasterSignature():
            answer.signature.value, answer.hash = result.signature, result.hash
    return answer


def authorization_from_proto(request: _Authorize) -> AnyOperation:
    """Return how a request is to be authenticated, read strictly."""
    if request.scheme not in _AUTHORIZATIONS:
        raise InvalidField("scheme", "is required, such as SCHEME_OAUTH1")
    known = _FIELDS_OF_ALL | _FIELDS[request.scheme]
    for field, _ in request.ListFields():
        if field.name not in known:
            raise InvalidField(field.name, "does not belong to this scheme; leave it out")
    return _AUTHORIZATIONS[request.scheme](request)


def _oauth1(request: _Authorize) -> AnyOperation:
    return OAuth1Headers(request.method, request.url, tuple(sorted(request.form.items())))


def _aws(request: _Authorize) -> AnyOperation:
    where = (request.method, request.url, request.service, request.region)
    if request.HasField("presign"):
        if request.headers:
            raise InvalidField("headers", "are not signed with presign; leave one of them out")
        return AwsPresign(*where, expire_seconds=request.presign.seconds)
    return AwsHeaders(*where, _body_sha256(request), tuple(sorted(request.headers.items())))


def _smtp(request: _Authorize) -> AnyOperation:
    if request.method:
        raise InvalidField("method", "is none of SMTP; leave it out")
    return SmtpLogin(request.url)


_AUTHORIZATIONS: Mapping[int, Callable[[_Authorize], AnyOperation]] = {
    _Authorize.SCHEME_OAUTH1: _oauth1,
    _Authorize.SCHEME_AWS_SIGV4: _aws,
    _Authorize.SCHEME_CDP: lambda asked: CdpJwt(asked.method, asked.url, asked.key_id),
    _Authorize.SCHEME_CDP_WALLET: lambda asked: WalletJwt(
        asked.method, asked.url, asked.body_json.encode()
    ),
    _Authorize.SCHEME_BASIC: lambda asked: BasicHeaders(asked.method, asked.url),
    _Authorize.SCHEME_BEARER: lambda asked: BearerHeaders(
        asked.method, asked.url, asked.token_type or BEARER
    ),
    _Authorize.SCHEME_KEY_HEADER: lambda asked: KeyHeader(
        asked.method, asked.url, asked.key_header
    ),
    _Authorize.SCHEME_KEY_URL: lambda asked: KeyUrl(asked.method, asked.url),
    _Authorize.SCHEME_SMTP: _smtp,
}


_FIELDS_OF_ALL = frozenset(
    {"credential", "method", "url", "body_digest", "scheme", "account", "version"}
)
# Who sends something else believes that it is signed.
_FIELDS: Mapping[int, frozenset[str]] = {
    _Authorize.SCHEME_OAUTH1: frozenset({"form"}),
    _Authorize.SCHEME_AWS_SIGV4: frozenset({"headers", "region", "service", "presign"}),
    _Authorize.SCHEME_CDP: frozenset({"key_id"}),
    _Authorize.SCHEME_CDP_WALLET: frozenset({"body_json"}),
    _Authorize.SCHEME_BASIC: frozenset(),
    _Authorize.SCHEME_BEARER: frozenset({"token_type"}),
    _Authorize.SCHEME_KEY_HEADER: frozenset({"key_header"}),
    _Authorize.SCHEME_KEY_URL: frozenset(),
    _Authorize.SCHEME_SMTP: frozenset(),
}


def authorized_to_proto(result: object) -> use_pb2.AuthorizeRequestResponse:
    """Return the headers, or the URL, that authenticate a request."""
    if isinstance(result, Headers):
        authorization = result.values.get("Authorization", "")
        return use_pb2.AuthorizeRequestResponse(authorization=authorization, headers=result.values)
    assert isinstance(result, str), "what is not in headers is in the URL"
    return use_pb2.AuthorizeRequestResponse(url=result)


def _body_sha256(request: _Authorize) -> bytes:
    text = request.body_digest.sha256 or _EMPTY_SHA256
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidField("body_digest.sha256", "is not hexadecimal") from None
