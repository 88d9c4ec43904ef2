"""The contract of who may use which key: the policy, dry runs, and what people decide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import policy_pb2 as pb
from actionvm.keymanager.v1 import policy_pb2_grpc
from chassis.fields import page_limit, require_size
from chassis.identity import AUDITORS, OPERATOR, current_caller
from chassis.problems import PROBLEMS_MAX, Severity, shorten

from ..errors import PolicyInvalid
from ..journal import Asker
from ..messages.evaluations import evaluated_use
from ..messages.policies import (
    approval_name,
    approval_to_proto,
    evaluation_to_proto,
    place_from_token,
    place_to_token,
    policy_to_proto,
)
from ..policy.document import parse
from ..vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from chassis.errors import ServiceError
    from chassis.interceptors import Context

CONTENT_CHARACTERS_MAX = 256 * 1024
# What fits into the trailers of a call beside the rest.
DETAILS_BYTES_MAX = 4_500

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["PolicyService"]

_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "PutPolicy": _OPERATOR,
    "GetPolicy": AUDITORS,
    "EvaluateUse": AUDITORS,
    "ListApprovals": AUDITORS,
    "GetApproval": AUDITORS | {"runtime"},
    "DecideApproval": _OPERATOR,
}


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """Rules are documents that people write; their problems are told all at once."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def PutPolicy(
        self, request: pb.PutPolicyRequest, context: Context
    ) -> pb.PutPolicyResponse:
        require_size("content", request.content, size_max=CONTENT_CHARACTERS_MAX)
        if request.validate_only:
            await asyncio.to_thread(parse, request.content)
            return pb.PutPolicyResponse()
        made = await self._vault.put_policy(request.content, by=Asker(current_caller()))
        return pb.PutPolicyResponse(version=made.version)

    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: Context
    ) -> pb.GetPolicyResponse:
        return policy_to_proto(await self._vault.policy())

    async def EvaluateUse(
        self, request: pb.EvaluateUseRequest, context: Context
    ) -> pb.EvaluateUseResponse:
        wanted = evaluated_use(request)
        evaluation = await self._vault.evaluate(wanted.name, wanted.operation, by=wanted.by)
        return evaluation_to_proto(evaluation)

    async def ListApprovals(
        self, request: pb.ListApprovalsRequest, context: Context
    ) -> pb.ListApprovalsResponse:
        limit = page_limit(request.page_size)
        after = place_from_token(request.page_token)
        found = await asyncio.to_thread(self._vault.waiting, after=after, limit=limit + 1)
        page = found[:limit]
        return pb.ListApprovalsResponse(
            approvals=map(approval_to_proto, page),
            next_page_token=place_to_token(page[-1].place) if len(found) > limit else "",
        )

    async def GetApproval(
        self, request: pb.GetApprovalRequest, context: Context
    ) -> pb.GetApprovalResponse:
        name, caller = approval_name(request.name), current_caller()
        of = "" if caller in AUDITORS else caller
        approval = await asyncio.to_thread(self._vault.approval, name, of=of)
        return pb.GetApprovalResponse(approval=approval_to_proto(approval))

    async def DecideApproval(
        self, request: pb.DecideApprovalRequest, context: Context
    ) -> pb.DecideApprovalResponse:
        name, by = approval_name(request.name), Asker(current_caller())
        await self._vault.decide_approval(name, approves=request.approved, by=by)
        return pb.DecideApprovalResponse()


def details_of(error: ServiceError) -> Sequence[Message]:
    """Return what an error carries besides its reason: all problems of a policy that fit."""
    if not isinstance(error, PolicyInvalid):
        return []
    shown = action_pb2.Problems()
    for count_max in range(min(len(error.problems), PROBLEMS_MAX), 0, -1):
        problems = shorten(error.problems, count_max=count_max)
        shown = action_pb2.Problems(
            problems=[
                action_pb2.Problem(
                    severity=_SEVERITIES[one.severity],
                    code=one.code,
                    file=one.file,
                    line=one.line,
                    column=one.column,
                    field=one.field,
                    message=one.message,
                    fix=one.fix,
                )
                for one in problems
            ]
        )
        if shown.ByteSize() <= DETAILS_BYTES_MAX:
            break
    return [shown]


_SEVERITIES = {
    Severity.WARNING: action_pb2.Problem.SEVERITY_WARNING,
    Severity.ERROR: action_pb2.Problem.SEVERITY_ERROR,
}
