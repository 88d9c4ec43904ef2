"""Contract of the policy of keys: every RPC is called, with each reason that it documents."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status

from actionvm.action.v1 import action_pb2
from actionvm.keymanager.v1 import keymanager_pb2, policy_pb2_grpc, use_pb2
from actionvm.keymanager.v1 import policy_pb2 as pb
from chassis.fields import page_token
from keymanager.signing import KNOWLEDGE_KEY
from tests.contracts.contract import Call, make
from tests.contracts.keymanagers import BANNED, POLICY, RECIPIENT, host
from tests.grpc_fixtures import HostedFactory, StubAs

MessageT = TypeVar("MessageT", bound=Message)

UNKNOWN = "approvals/00000000-0000-4000-8000-000000000000"
SIGN = keymanager_pb2.SignRequest(
    key="secrets/board", purpose=keymanager_pb2.PURPOSE_REQUEST, message=b"m"
)
LOGIN = use_pb2.AuthorizeRequestRequest(
    credential="secrets/login",
    method="GET",
    url="https://api.example.com/",
    scheme=use_pb2.AuthorizeRequestRequest.SCHEME_BASIC,
)
RELEASE = use_pb2.ReleaseSecretRequest(name="secrets/bearer", recipient_key=RECIPIENT)
GUARDED = keymanager_pb2.SignRequest(
    key="secrets/guarded", purpose=keymanager_pb2.PURPOSE_REQUEST, message=b"m"
)


def with_texts(use: MessageT, **fields: str) -> MessageT:
    """Return a use with other texts."""
    made = type(use)(**fields)
    others = type(use)()
    others.CopyFrom(use)
    for name in fields:
        others.ClearField(name)
    made.MergeFrom(others)
    return made


CONTEXT = "collections/brand"
# Without a name, the key is that of knowledge.
DATA_USES: list[dict[str, Message]] = [
    {"generate_data_key": use_pb2.GenerateDataKeyRequest(context=CONTEXT, recipient_key=RECIPIENT)},
    {"encrypt": use_pb2.EncryptRequest(context=CONTEXT, plaintext=b"x")},
    {"decrypt": use_pb2.DecryptRequest(context=CONTEXT, recipient_key=RECIPIENT)},
    {"rewrap": use_pb2.RewrapRequest(context=CONTEXT)},
    {"public_key": keymanager_pb2.GetPublicKeyRequest(key="secrets/board")},
]

# Each call stands alone: they may run in any order, and on several machines.
CALLS = [
    Call("PutPolicy", pb.PutPolicyRequest(content=POLICY)),
    Call("PutPolicy", pb.PutPolicyRequest(content=POLICY, validate_only=True)),
    Call("PutPolicy", pb.PutPolicyRequest(content="rules: 1"), reason="POLICY_INVALID"),
    Call(
        "PutPolicy",
        pb.PutPolicyRequest(content="rules: 1", validate_only=True),
        reason="POLICY_INVALID",
    ),
    Call("PutPolicy", pb.PutPolicyRequest(), reason="INVALID_FIELD"),
    Call("PutPolicy", pb.PutPolicyRequest(content="x" * 300_000), reason="INVALID_FIELD"),
    Call("GetPolicy", pb.GetPolicyRequest()),
    Call("GetPolicy", pb.GetPolicyRequest(), caller="runtime", reason="METHOD_DENIED"),
    Call("EvaluateUse", pb.EvaluateUseRequest(use=SIGN, caller="runtime")),
    Call("EvaluateUse", pb.EvaluateUseRequest(authorize=LOGIN, caller="runtime")),
    Call("EvaluateUse", pb.EvaluateUseRequest(release=RELEASE, caller="linker")),
    *(
        Call("EvaluateUse", pb.EvaluateUseRequest(**use, caller="knowledge"))  # type: ignore[arg-type]  # one field
        for use in DATA_USES
    ),
    Call(
        "EvaluateUse",
        pb.EvaluateUseRequest(
            caller="knowledge",
            decrypt=use_pb2.DecryptRequest(context="a b", recipient_key=RECIPIENT),
        ),
        reason="INVALID_FIELD",
    ),
    Call(
        "EvaluateUse",
        pb.EvaluateUseRequest(use=SIGN, release=RELEASE, caller="runtime"),
        reason="INVALID_FIELD",
    ),
    Call(
        "EvaluateUse",
        pb.EvaluateUseRequest(
            use=with_texts(SIGN, account="agents/a"), account="agents/b", caller="runtime"
        ),
        reason="INVALID_FIELD",
    ),
    Call("EvaluateUse", pb.EvaluateUseRequest(use=SIGN), reason="INVALID_FIELD"),
    Call("EvaluateUse", pb.EvaluateUseRequest(caller="runtime"), reason="INVALID_FIELD"),
    Call("ListApprovals", pb.ListApprovalsRequest()),
    Call("ListApprovals", pb.ListApprovalsRequest(page_token="?"), reason="INVALID_FIELD"),
    Call(
        "ListApprovals",
        pb.ListApprovalsRequest(page_token=page_token("-1", "")),
        reason="INVALID_FIELD",
    ),
    Call("GetApproval", pb.GetApprovalRequest(name="x"), reason="INVALID_FIELD"),
    Call("GetApproval", pb.GetApprovalRequest(name=UNKNOWN), reason="APPROVAL_NOT_FOUND"),
    Call("DecideApproval", pb.DecideApprovalRequest(name="x"), reason="INVALID_FIELD"),
    Call("DecideApproval", pb.DecideApprovalRequest(name=UNKNOWN), reason="APPROVAL_NOT_FOUND"),
]


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return host()


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[policy_pb2_grpc.PolicyServiceStub]:
    return policy_pb2_grpc.PolicyServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_all_problems_of_a_policy_come_with_their_places(grpc_stub_as: StubAs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        grpc_stub_as("operator").PutPolicy(pb.PutPolicyRequest(content="rules: 1\nname: x\n"))

    error = caught.value
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    problems = action_pb2.Problems()
    assert status is not None
    assert any(detail.Unpack(problems) for detail in status.details)
    assert {(problem.line, problem.field) for problem in problems.problems} >= {
        (1, "rules"),
        (2, "name"),
    }


def test_a_dry_run_says_which_rule_decided_and_why_others_did_not(grpc_stub_as: StubAs) -> None:
    request = pb.EvaluateUseRequest(use=GUARDED, caller="runtime")

    answer = grpc_stub_as("operator").EvaluateUse(request)

    assert (answer.allowed, answer.asks, answer.rule) == (False, True, "ask")
    assert [(one.rule, one.matched) for one in answer.explanations] == [
        ("ask", True),
        ("all", True),
        ("never", False),
        ("banned", False),
    ]


@pytest.mark.parametrize(
    "use",
    [
        {"use": with_texts(SIGN, key=KNOWLEDGE_KEY)},
        {"authorize": with_texts(LOGIN, credential=KNOWLEDGE_KEY)},
        {"release": with_texts(RELEASE, name=KNOWLEDGE_KEY)},
        *DATA_USES[:-1],
    ],
    ids=lambda use: next(iter(use)),
)
def test_a_dry_run_is_about_the_agent_of_the_use(
    grpc_stub_as: StubAs, use: dict[str, Message]
) -> None:
    ((field, wanted),) = use.items()
    rules = []
    for inner, outer in ((BANNED, ""), ("", BANNED), (BANNED, BANNED), ("", "")):
        made = with_texts(wanted, account=inner)
        fields: dict[str, Any] = {field: made, "account": outer, "caller": "runtime"}
        answer = grpc_stub_as("operator").EvaluateUse(pb.EvaluateUseRequest(**fields))
        rules.append(answer.rule)
    assert rules == ["banned", "banned", "banned", "all"]
