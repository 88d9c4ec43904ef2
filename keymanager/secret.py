"""What is known about a secret without its value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from chassis.errors import InvalidField
from chassis.fields import require_match


class Kind(IntEnum):
    """What a secret may be used for; the numbers are those of the contract and of the store."""

    API_KEY = 1
    ED25519 = 2
    SECP256K1 = 3
    P256 = 4
    OAUTH1 = 5
    OAUTH2 = 6
    BASIC = 7
    AWS = 8
    HMAC = 9
    DATA = 10


class State(IntEnum):
    """Whether something may be used; the numbers are those of the store."""

    ENABLED = 1
    DISABLED = 2


TENANT_NAME = re.compile(r"tenants/[a-z0-9][a-z0-9-]{0,62}")
DEFAULT_TENANT = "tenants/default"
# Of the keys of the services, which nobody else may put anything into, or shred.
SYSTEM_TENANT = "tenants/system"


def require_tenant(name: str) -> str:
    """Return the name of a tenant that callers may have, or raise `InvalidField`."""
    require_match("tenant", name, TENANT_NAME, example=DEFAULT_TENANT)
    if name == SYSTEM_TENANT:
        raise InvalidField("tenant", "is that of the keys of the services; take another one")
    return name


@dataclass(frozen=True)
class Version:
    """One value that a secret has or had; one without an end lives until the next rotation."""

    number: int
    state: State
    create_time: datetime
    expire_time: datetime | None = None


@dataclass(frozen=True)
class Secret:
    """A secret as everybody may see it; `rotate_time` is the time of its present version."""

    name: str
    kind: Kind
    version: int
    create_time: datetime
    rotate_time: datetime
    tenant: str = DEFAULT_TENANT
    state: State = State.ENABLED
    versions: tuple[Version, ...] = ()
