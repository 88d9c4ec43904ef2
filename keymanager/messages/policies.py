"""Policies and what they leave to people, as the contract has them."""

from __future__ import annotations

import json
import re

from actionvm.keymanager.v1 import policy_pb2 as pb
from chassis.errors import InvalidField
from chassis.fields import UUID, page_start, page_token, require_match

from ..approvals import FIRST, Approval, Place
from ..policies import PolicyDocument
from ..policy.conditions import Match
from ..policy.decision import Evaluation
from ..policy.document import PACKAGED
from ..policy.rule import Verdict
from .secrets import time_to_proto

_APPROVAL_NAME = re.compile(f"approvals/{UUID}")
# Of a number that every database takes.
_DIGITS_MAX = 18


def approval_name(value: str) -> str:
    """Return the name of a question to a person."""
    return require_match(
        "name", value, _APPROVAL_NAME, example="approvals/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"
    )


def policy_to_proto(document: PolicyDocument) -> pb.GetPolicyResponse:
    """Return a policy as it was written; the packaged one is version 0."""
    content = document.text if document.version else PACKAGED.read_text(encoding="utf-8")
    made = pb.GetPolicyResponse(content=content, version=document.version)
    if document.create_time is not None:
        made.create_time.CopyFrom(time_to_proto(document.create_time))
    return made


def evaluation_to_proto(evaluation: Evaluation) -> pb.EvaluateUseResponse:
    """Return a decision, and what every rule has to do with it."""
    decision = evaluation.decision
    return pb.EvaluateUseResponse(
        allowed=decision.verdict is Verdict.ALLOW,
        asks=decision.verdict is Verdict.ASK,
        rule=decision.rule,
        problem=decision.problem,
        explanations=[
            pb.EvaluateUseResponse.Explanation(
                rule=one.rule, matched=one.match is Match.YES, problem=one.problem
            )
            for one in evaluation.explanations
        ],
    )


def place_from_token(token: str) -> Place:
    """Return where a page of approvals begins."""
    time, name = page_start(token, parts=2) or map(str, FIRST)
    if not (time.isascii() and time.isdecimal() and len(time) <= _DIGITS_MAX):
        raise InvalidField("page_token", "was not made by this service")
    return int(time), name


def place_to_token(place: Place) -> str:
    """Return the token of the page after a place."""
    return page_token(*map(str, place))


def approval_to_proto(approval: Approval) -> pb.Approval:
    """Return a question as a person sees it."""
    facts = json.loads(approval.facts)
    return pb.Approval(
        name=approval.name,
        caller=approval.caller,
        account=approval.agent,
        secret=approval.secret,
        operation=approval.operation,
        purpose=approval.purpose,
        facts={name: _fact(value) for name, value in facts.items()},
        rule=approval.rule,
        create_time=time_to_proto(approval.create_time),
        expire_time=time_to_proto(approval.expire_time),
        state=pb.Approval.State.ValueType(approval.state),
    )


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
