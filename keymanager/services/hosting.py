"""All contracts of the key manager, in front of one vault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from actionvm.keymanager.v1 import (
    audit_pb2_grpc,
    keymanager_pb2_grpc,
    policy_pb2_grpc,
    recovery_pb2_grpc,
    use_pb2_grpc,
)
from chassis.clock import Clock
from chassis.server import Hosted

from .. import service
from ..identity.enrolment import Enrolment
from ..identity.revocations import Revocations
from ..platform.port import Platform
from ..sealing import RandomBytes
from ..service import KeymanagerService
from ..vault import Vault
from . import audit, policy, recovery, use
from .audit import AuditService
from .policy import PolicyService
from .recovery import RecoveryService
from .use import UseService

if TYPE_CHECKING:
    from grpc import aio

_OTHERS = (use, policy, audit, recovery)


def hosted(
    vault: Vault,
    platform: Platform,
    enrolment: Enrolment,
    revocations: Revocations,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    holders_file: Path | None = None,
) -> Hosted:
    """Return all contracts with their authorisation table."""
    keys = KeymanagerService(vault, platform, enrolment, revocations)

    def add_to(server: aio.Server) -> None:
        keymanager_pb2_grpc.add_KeymanagerServiceServicer_to_server(
            keys,  # type: ignore[arg-type]  # its base has some of the methods
            server,
        )
        use_pb2_grpc.add_UseServiceServicer_to_server(UseService(vault), server)
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyService(vault), server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(vault), server)
        recovery = RecoveryService(
            vault, holders_file=holders_file, clock=clock, random_bytes=random_bytes
        )
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)

    callers = dict(service.CALLERS)
    for other in _OTHERS:
        callers |= other.CALLERS
    return Hosted(
        descriptor=service.DESCRIPTOR,
        add_to=add_to,
        callers=callers,
        details_of=policy.details_of,
        others=tuple(other.DESCRIPTOR for other in _OTHERS),
        witnessed=vault,
    )
