"""Calls of every kind on a real key manager, right and wrong, that carry the canary."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import audit_pb2, policy_pb2, recovery_pb2, use_pb2
from actionvm.keymanager.v1 import keymanager_pb2 as pb

from ..keymanager.uses.samples import CAST, TRANSACTION, TYPED_DATA
from .canaries import CANARY

TEXT = CANARY.decode()
URL = "https://api.example.com/2/tweets"
CONTEXT = "collections/brand"
RECIPIENT = X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
POLICY = """
format: actionvm.policy/v1
rules:
  - {name: all, verdict: allow, callers: "*", secrets: "*", operations: "*", purposes: "*"}
  - {name: never, verdict: deny, secrets: secrets/forbidden}
"""
VALUES: Mapping[str, tuple[pb.Kind.ValueType, bytes]] = {
    "bearer": (pb.KIND_API_KEY, CANARY),
    "forbidden": (pb.KIND_API_KEY, b"sk-" + CANARY),
    "seed": (pb.KIND_ED25519, CANARY),
    "idle": (pb.KIND_ED25519, CANARY.hex().encode()),
    "wallet": (pb.KIND_SECP256K1, CANARY),
    "es256": (pb.KIND_P256, CANARY),
    "mac": (pb.KIND_HMAC, CANARY),
    "data": (pb.KIND_DATA, CANARY),
    "oauth": (
        pb.KIND_OAUTH1,
        json.dumps(
            {"consumer_key": "c", "consumer_secret": TEXT, "token": "t", "token_secret": TEXT}
        ).encode(),
    ),
    "oauth2": (
        pb.KIND_OAUTH2,
        json.dumps({"access_token": TEXT, "refresh_token": TEXT}).encode(),
    ),
    "login": (pb.KIND_BASIC, json.dumps({"username": "u", "password": TEXT}).encode()),
    "aws": (
        pb.KIND_AWS,
        json.dumps({"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": TEXT}).encode(),
    ),
}

_Asked: TypeAlias = use_pb2.AuthorizeRequestRequest


@dataclass(frozen=True)
class Call:
    """One call, and who makes it."""

    caller: str
    method: str
    request: Message


@dataclass
class Calls:
    """Makes calls up, seeded; it remembers what there is to call about."""

    seed: int
    names: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    ciphertexts: list[bytes] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self._number = 0
        kinds: list[tuple[int, Callable[[], Call]]] = [
            (30, self._sign),
            (5, self._sign_batch),
            (15, self._authorize),
            (15, self._envelope),
            (10, self._lease),
            (10, self._life),
            (5, self._read),
            (12, self._wrong),
        ]
        self._weights = [weight for weight, _ in kinds]
        self._kinds = [kind for _, kind in kinds]

    def first(self) -> Iterator[Call]:
        """Yield what the others need: a policy, and a secret of every kind."""
        yield _operator("PutPolicy", policy_pb2.PutPolicyRequest(content=POLICY))
        for name, (kind, value) in VALUES.items():
            yield _operator("PutSecret", self._put(f"secrets/{name}", kind, value))

    def next(self) -> Call:
        """Return another call."""
        (kind,) = self.dice.choices(self._kinds, self._weights)
        return kind()

    def note(self, call: Call, answer: object, reason: str) -> None:
        """Remember what a call gave."""
        self.outcomes[call.method, reason] += 1
        match answer:
            case pb.PutSecretResponse():
                self.names.append(answer.secret.name)
            case use_pb2.ReleaseSecretResponse():
                self.leases.append(answer.lease)
            case use_pb2.EncryptResponse() | use_pb2.RewrapResponse():
                self.ciphertexts.append(answer.ciphertext)

    def _id(self) -> str:
        self._number += 1
        return f"mixed-{self._number}"

    def _put(self, name: str, kind: pb.Kind.ValueType, value: bytes) -> pb.PutSecretRequest:
        return pb.PutSecretRequest(request_id=self._id(), name=name, kind=kind, value=value)

    def _sign(self) -> Call:
        payloads: list[tuple[str, dict[str, str | bytes]]] = [
            ("seed", {"message": b"m"}),
            ("seed", {"farcaster_message": CAST}),
            ("es256", {"message": b"m"}),
            ("wallet", {"digest": bytes(32)}),
            ("wallet", {"personal_message": b"hello"}),
            ("wallet", {"transaction": TRANSACTION}),
            ("wallet", {"typed_data": TYPED_DATA.decode()}),
            ("mac", {"hmac_sha256": b"m"}),
            ("mac", {"hmac_sha512": b"m"}),
        ]
        key, payload = self.dice.choice(payloads)
        return Call("runtime", "Sign", _signing(key, **payload))

    def _sign_batch(self) -> Call:
        key = self.dice.choice(["seed", "wallet"])
        payload = {"message": b"m"} if key == "seed" else {"personal_message": b"m"}
        requests = [_signing(key, **payload)] * self.dice.randrange(1, 16)
        return Call("runtime", "SignBatch", pb.SignBatchRequest(requests=requests))

    def _authorize(self) -> Call:
        name, scheme, rest = self.dice.choice(
            [
                ("oauth", _Asked.SCHEME_OAUTH1, {"form": {"status": "hello"}}),
                ("aws", _Asked.SCHEME_AWS_SIGV4, {"region": "eu-west-1", "service": "s3"}),
                (
                    "aws",
                    _Asked.SCHEME_AWS_SIGV4,
                    {"region": "eu-west-1", "service": "s3", "presign": Duration(seconds=60)},
                ),
                ("es256", _Asked.SCHEME_CDP, {"key_id": "8f6c1a6e-3c8e-4f3e-9d0b-6b0f3f6a2c11"}),
                ("es256", _Asked.SCHEME_CDP_WALLET, {"body_json": '{"to":"0x1"}'}),
                ("login", _Asked.SCHEME_BASIC, {}),
                ("forbidden", _Asked.SCHEME_BASIC, {}),
            ]
        )
        request = _Asked(credential=f"secrets/{name}", method="GET", url=URL, scheme=scheme)
        request.MergeFrom(_Asked(**rest))  # type: ignore[arg-type]  # of the message
        return Call("runtime", "AuthorizeRequest", request)

    def _envelope(self) -> Call:
        key, recipient = "secrets/data", RECIPIENT
        way = self.dice.randrange(4 if self.ciphertexts else 2)
        if way == 0:
            request = use_pb2.EncryptRequest(context=CONTEXT, plaintext=CANARY, key=key)
            return Call("knowledge", "Encrypt", request)
        if way == 1:
            made = use_pb2.GenerateDataKeyRequest(context=CONTEXT, recipient_key=recipient, key=key)
            return Call("knowledge", "GenerateDataKey", made)
        ciphertext = self.dice.choice(self.ciphertexts)
        if way == 2:
            again = use_pb2.RewrapRequest(context=CONTEXT, ciphertext=ciphertext, key=key)
            return Call("knowledge", "Rewrap", again)
        opened = use_pb2.DecryptRequest(
            context=CONTEXT, ciphertext=ciphertext, recipient_key=recipient, key=key
        )
        return Call("knowledge", "Decrypt", opened)

    def _lease(self) -> Call:
        way = self.dice.randrange(4 if self.leases else 2)
        if way < 2:
            name = self.dice.choice(["bearer", "oauth2", "forbidden"])
            request = use_pb2.ReleaseSecretRequest(
                name=f"secrets/{name}", recipient_key=RECIPIENT, account="agents/a"
            )
            return Call("linker", "ReleaseSecret", request)
        lease = self.dice.choice(self.leases)
        if way == 2:
            return Call("linker", "RenewLease", use_pb2.RenewLeaseRequest(lease=lease))
        return Call("linker", "RevokeLease", use_pb2.RevokeLeaseRequest(lease=lease))

    def _life(self) -> Call:
        way = self.dice.randrange(100)
        if way == 0:
            return _operator("RotateRoot", recovery_pb2.RotateRootRequest(request_id=self._id()))
        if way == 1:
            return _operator("Backup", recovery_pb2.BackupRequest(threshold=2, share_count=3))
        if way < 8:
            return _operator("DisableSecret", pb.DisableSecretRequest(name="secrets/idle"))
        if way < 15:
            return _operator("EnableSecret", pb.EnableSecretRequest(name="secrets/idle"))
        kind, value = self.dice.choice(list(VALUES.values()))
        if way < 60 or not self.names:
            return _operator("PutSecret", self._put(f"secrets/{self._id()}", kind, value))
        if way < 80:
            # What the one before encrypted could not be decrypted.
            name = self.dice.choice([name for name in VALUES if name != "data"])
            rotated = pb.RotateSecretRequest(
                request_id=self._id(), name=f"secrets/{name}", value=VALUES[name][1]
            )
            return _operator("RotateSecret", rotated)
        made = [name for name in self.names if "mixed" in name]
        name = self.dice.choice(made or ["secrets/none"])
        return _operator("ShredSecret", pb.ShredSecretRequest(name=name))

    def _read(self) -> Call:
        calls: list[tuple[str, Message]] = [
            ("GetPublicKey", pb.GetPublicKeyRequest(key=f"secrets/{self.dice.choice([*VALUES])}")),
            ("GetSecret", pb.GetSecretRequest(name="secrets/seed")),
            ("ListSecrets", pb.ListSecretsRequest(page_size=20)),
            ("ListAuditRecords", audit_pb2.ListAuditRecordsRequest(page_size=20)),
            ("GetQuote", pb.GetQuoteRequest(nonce=bytes(32))),
        ]
        return _operator(*self.dice.choice(calls))

    def _wrong(self) -> Call:
        return self.dice.choice(_WRONG)(self._id())


def _operator(method: str, request: Message) -> Call:
    return Call("operator", method, request)


def _signing(name: str, **payload: Any) -> pb.SignRequest:  # noqa: ANN401  # of the message
    return pb.SignRequest(key=f"secrets/{name}", purpose=pb.PURPOSE_REQUEST, **payload)


def _wrong_put(name: str, kind: pb.Kind.ValueType, value: bytes) -> Callable[[str], Call]:
    return lambda id_: _operator(
        "PutSecret", pb.PutSecretRequest(request_id=id_, name=name, kind=kind, value=value)
    )


def _always(caller: str, method: str, request: Message) -> Callable[[str], Call]:
    return lambda _: Call(caller, method, request)


def _wrong_use(name: str, scheme: _Asked.Scheme.ValueType, **rest: Any) -> Callable[[str], Call]:  # noqa: ANN401  # of the message
    asked = {"method": "GET", "url": URL, **rest}
    request = _Asked(credential=f"secrets/{name}", scheme=scheme, **asked)
    return _always("runtime", "AuthorizeRequest", request)


# The canary where it does not belong, as somebody pastes it who took the wrong line.
_WRONG: list[Callable[[str], Call]] = [
    _wrong_put("secrets/bearer", pb.KIND_API_KEY, CANARY),
    _wrong_put("secrets/x", pb.KIND_ED25519, CANARY + b"!"),
    _wrong_put("secrets/x", pb.KIND_ED25519, base64.b64encode(CANARY + bytes(8))),
    _wrong_put("secrets/x", pb.KIND_P256, b"-----BEGIN PRIVATE KEY-----\n" + CANARY),
    _wrong_put("secrets/x", pb.KIND_AWS, CANARY),
    _wrong_put("secrets/x", pb.KIND_OAUTH1, json.dumps({TEXT: TEXT}).encode()),
    _wrong_put("secrets/x", pb.KIND_BASIC, json.dumps({"username": TEXT, "password": 1}).encode()),
    _wrong_put("secrets/x", pb.KIND_UNSPECIFIED, CANARY),
    _wrong_put("secrets/x", pb.KIND_API_KEY, CANARY * 2_100),
    _wrong_put(f"secrets/{TEXT}", pb.KIND_API_KEY, b"v"),
    lambda id_: _operator(
        "PutSecret",
        pb.PutSecretRequest(request_id=id_, name="secrets/x", tenant=TEXT, generate=True),
    ),
    lambda id_: _operator(
        "RotateSecret", pb.RotateSecretRequest(request_id=id_, name="secrets/none", value=CANARY)
    ),
    lambda id_: _operator(
        "RotateSecret",
        pb.RotateSecretRequest(request_id=id_, name="secrets/seed", value=b"x" + CANARY),
    ),
    _always("runtime", "PutSecret", pb.PutSecretRequest(name="secrets/x", value=CANARY)),
    _always("linker", "RotateSecret", pb.RotateSecretRequest(name="secrets/x", value=CANARY)),
    _always("operator", "Sign", _signing("seed", message=CANARY)),
    _always("runtime", "Sign", pb.SignRequest(key=TEXT, purpose=pb.PURPOSE_REQUEST, message=b"m")),
    _always("runtime", "Sign", _signing("seed", message=CANARY, account=TEXT)),
    _always("runtime", "Sign", _signing("seed", message=CANARY)),
    _always("runtime", "Sign", _signing("wallet", typed_data=TEXT)),
    _always("runtime", "Sign", _signing("wallet", typed_data=json.dumps({TEXT: TEXT}))),
    _always("runtime", "Sign", _signing("wallet", transaction=CANARY)),
    _always("runtime", "Sign", _signing("wallet", digest=CANARY)),
    _always("runtime", "Sign", _signing("seed", farcaster_message=CANARY)),
    _always("runtime", "Sign", _signing("bearer", hmac_sha256=CANARY)),
    _always("operator", "GetSecret", pb.GetSecretRequest(name=TEXT)),
    _always("operator", "GetPublicKey", pb.GetPublicKeyRequest(key=TEXT)),
    _always("operator", "ListSecrets", pb.ListSecretsRequest(page_token=TEXT)),
    _wrong_use("login", _Asked.SCHEME_BASIC, url=f"https://u:{TEXT}@api.example.com/"),
    _wrong_use("login", _Asked.SCHEME_BASIC, method=TEXT),
    _wrong_use("login", _Asked.SCHEME_BASIC, account=TEXT),
    _wrong_use("oauth", _Asked.SCHEME_OAUTH1, url=f"{URL}?api_key={TEXT}"),
    _wrong_use("oauth", _Asked.SCHEME_OAUTH1, form={"api_key": TEXT}),
    _wrong_use("es256", _Asked.SCHEME_CDP_WALLET, body_json=TEXT),
    _wrong_use("es256", _Asked.SCHEME_CDP_WALLET, body_json=json.dumps({"a": TEXT})),
    _wrong_use(
        "aws", _Asked.SCHEME_AWS_SIGV4, region="eu-west-1", service="s3", headers={"x-key": TEXT}
    ),
    _wrong_use("aws", _Asked.SCHEME_AWS_SIGV4, region=TEXT, service="s3"),
    _wrong_use("login", _Asked.SCHEME_BASIC, body_digest=action_pb2.Digest(sha256=TEXT)),
    _always("knowledge", "Encrypt", use_pb2.EncryptRequest(plaintext=CANARY)),
    _always(
        "knowledge", "Encrypt", use_pb2.EncryptRequest(context=CONTEXT, plaintext=CANARY * 2_100)
    ),
    _always(
        "knowledge",
        "Decrypt",
        use_pb2.DecryptRequest(context=CONTEXT, ciphertext=CANARY, recipient_key=RECIPIENT),
    ),
    _always("knowledge", "Rewrap", use_pb2.RewrapRequest(context=CONTEXT, ciphertext=CANARY)),
    _always(
        "linker",
        "ReleaseSecret",
        use_pb2.ReleaseSecretRequest(
            name="secrets/bearer", recipient_key=CANARY[1:], account="agents/a"
        ),
    ),
    _always("linker", "RenewLease", use_pb2.RenewLeaseRequest(lease=TEXT)),
    _always("operator", "PutPolicy", policy_pb2.PutPolicyRequest(content=TEXT)),
    _always("operator", "PutPolicy", policy_pb2.PutPolicyRequest(content=json.dumps({TEXT: TEXT}))),
    _always(
        "operator", "DecideApproval", policy_pb2.DecideApprovalRequest(name=TEXT, approved=True)
    ),
    _always("operator", "Restore", recovery_pb2.RestoreRequest(content=CANARY, shares=[CANARY])),
    _always("operator", "Enrol", pb.EnrolRequest(certificate_request=CANARY, nonce=CANARY)),
    _always("operator", "RevokeIdentity", pb.RevokeIdentityRequest(identity=TEXT)),
    _always("operator", "RevokeIdentity", pb.RevokeIdentityRequest(serial_number=TEXT)),
    _always("nobody", "GetSecret", pb.GetSecretRequest(name="secrets/seed")),
]
