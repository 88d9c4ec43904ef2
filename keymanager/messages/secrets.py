"""Secrets as the contract has them: what is known of one, never its value."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.keymanager.v1 import keymanager_pb2 as pb
from chassis.errors import InvalidField
from chassis.fields import SECRET_NAME, require_match, require_range

from ..lifecycle import GRACE_MAX
from ..secret import DEFAULT_TENANT, Kind, Secret, require_tenant
from ..signing import KNOWLEDGE_KEY

_KEY_NAME = re.compile(rf"keys/[a-z]{{1,32}}|{SECRET_NAME.pattern}")


def secret_name(value: str) -> str:
    """Return the name of a secret of an agent."""
    return require_match("name", value, SECRET_NAME, example="secrets/board-key")


def rotatable_name(value: str) -> str:
    """Return the name of a secret, or of the key for data that services use by default."""
    return KNOWLEDGE_KEY if value == KNOWLEDGE_KEY else secret_name(value)


def key_name(value: str, field: str = "key") -> str:
    """Return the name of a secret, or of a key that the key manager made itself."""
    return require_match(field, value, _KEY_NAME, example="secrets/board-key")


def data_key_name(value: str) -> str:
    """Return the name of a key that encrypts; that of knowledge if none is given."""
    return key_name(value) if value else KNOWLEDGE_KEY


def tenant_name(value: str) -> str:
    """Return the name of a tenant of callers; the default one if none is given."""
    return require_tenant(value or DEFAULT_TENANT)


def kind_from_proto(kind: pb.Kind.ValueType) -> Kind:
    """Return what a secret is."""
    if kind == pb.KIND_UNSPECIFIED or kind not in pb.Kind.values():
        raise InvalidField("kind", "is required, such as KIND_API_KEY")
    return Kind(kind)


def grace_from_proto(grace: Duration) -> timedelta:
    """Return how long the version before may still be used."""
    seconds = grace.seconds + grace.nanos / 1e9
    require_range("grace", seconds, least=0, most=GRACE_MAX.total_seconds())
    return timedelta(seconds=seconds)


def secret_to_proto(secret: Secret) -> pb.Secret:
    """Return what everybody may know of a secret."""
    made = pb.Secret(
        name=secret.name,
        kind=pb.Kind.ValueType(secret.kind),
        version=secret.version,
        create_time=time_to_proto(secret.create_time),
        rotate_time=time_to_proto(secret.rotate_time),
        tenant=secret.tenant,
        state=pb.Secret.State.ValueType(secret.state),
    )
    before = [version for version in secret.versions if version.number != secret.version]
    if before:
        made.version_before, end = before[-1].number, before[-1].expire_time
        if end is not None:
            made.grace_time.CopyFrom(time_to_proto(end))
    return made


def time_to_proto(time: datetime) -> Timestamp:
    """Return a time as messages have it."""
    made = Timestamp()
    made.FromDatetime(time)
    return made
