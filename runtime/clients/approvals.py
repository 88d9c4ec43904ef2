"""The port `Approvals` over gRPC: what the key manager leaves to people."""

from __future__ import annotations

from collections.abc import Callable

from grpc import aio

from actionvm.keymanager.v1 import policy_pb2, policy_pb2_grpc
from chassis.channel import translated
from chassis.errors import TokenInvalid

from ..errors import ApprovalDecided, ApprovalNotFound

_WAITS = policy_pb2.Approval.STATE_PENDING


class ApprovalsClient:
    """`Approvals` over two channels to the key manager: ours, and one on which people show a token.

    The second is made for each decision: these are rare, and what it believes may have changed.
    """

    def __init__(self, channel: aio.Channel, connect: Callable[[], aio.Channel]) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._connect = connect

    async def is_decided(self, approval: str) -> bool:
        """Tell whether somebody has decided, or the question has expired; see `Approvals`."""
        request = policy_pb2.GetApprovalRequest(name=approval)
        known = {"APPROVAL_NOT_FOUND": lambda _: ApprovalNotFound(approval)}
        try:
            with translated("keymanager", known):
                return (await self._stub.GetApproval(request)).approval.state != _WAITS
        except ApprovalNotFound:
            return True

    async def decide(self, approval: str, *, allows: bool, authorization: str) -> None:
        """Decide with the rights of who shows the authorization; see `Approvals`."""
        request = policy_pb2.DecideApprovalRequest(name=approval, approved=allows)
        known = {
            "APPROVAL_NOT_FOUND": lambda _: ApprovalNotFound(approval),
            "APPROVAL_DECIDED": lambda _: ApprovalDecided(approval),
            "TOKEN_INVALID": lambda _: TokenInvalid(),
        }
        async with self._connect() as channel:
            stub = policy_pb2_grpc.PolicyServiceStub(channel)
            with translated("keymanager", known):
                await stub.DecideApproval(request, metadata=(("authorization", authorization),))
