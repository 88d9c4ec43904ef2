"""The ports over gRPC: what peers are asked, and what their refusals become."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2
from actionvm.gas.v1 import gas_pb2, metering_pb2
from actionvm.keymanager.v1 import keymanager_pb2, policy_pb2
from actionvm.knowledge.v1 import knowledge_pb2
from actionvm.linker.v1 import linker_pb2
from chassis.channel import open_channel
from chassis.errors import PeerUnavailable, ServiceError, TokenInvalid
from runtime.clients import (
    AssemblerClient,
    KnowledgeClient,
    LinkerClient,
)
from runtime.clients.approvals import ApprovalsClient
from runtime.clients.gas import GasClient
from runtime.clients.keys import KeymanagerClient
from runtime.conversation import ActionChoice, Message, Role
from runtime.errors import ApprovalDecided, ApprovalNotFound, BundleNotFound
from runtime.facts import ActionCall, Caller, Passage, Usage
from runtime.ports import Generation, Hold, PersonAwaited, Prompt, RunFails
from runtime.program import FallbackModel
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.hosting import bundle_to_proto
from tests.runtime.peers import ApprovalRequired, Peers, Refusal, serving
from tests.runtime.worlds import RUN, payload, program

BOSS = Caller("agents/boss", f"{RUN[:-1]}2")
CLERK = Caller("agents/clerk", f"{RUN[:-1]}3")
WAITING = [action_pb2.Caller(account=one.account, run=one.run) for one in (BOSS, CLERK)]
CALL = ActionCall("step-1-1", "board.post", "{}")
PROMPT = Prompt(
    request_id=f"{RUN}/step/1",
    run=RUN,
    account="agents/market-brief",
    callers=(BOSS, CLERK),
    model=program().model,
    agent_acts=True,
    messages=(Message(Role.USER, "hello"), Message(Role.ASSISTANT, "", (CALL,))),
    actions=program().actions,
    choice=ActionChoice.REQUIRED,
)
LINK = linker_pb2.LinkModelResponse(link=linker_pb2.Link(name="links/1"))
FINISHED = linker_pb2.GenerateResponse(
    finished=linker_pb2.Finished(
        text="hi",
        calls=[action_pb2.ActionCall(id="x", action="board.post", arguments="{}")],
        usages=[action_pb2.Usage(meter=action_pb2.Usage.METER_OUTPUT_TOKENS, amount=2)],
        gas=3,
    )
)
DELTA = linker_pb2.GenerateResponse(text_delta="h")
LINK_NOT_FOUND = Refusal("NOT_FOUND", "LINK_NOT_FOUND")


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
async def channel(peers: Peers) -> AsyncIterator[aio.Channel]:
    async with serving(peers) as channel:
        yield channel


async def _generate(client: LinkerClient) -> list[str | Generation]:
    async with aclosing(client.generate(PROMPT)) as parts:
        return [part async for part in parts]


async def test_a_generation_streams_and_ends_whole(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [LINK, [DELTA, FINISHED]]
    usages = (Usage("output_tokens", 2),)
    whole = Generation("hi", (ActionCall("x", "board.post", "{}"),), usages, 3)
    assert await _generate(LinkerClient(channel)) == ["h", whole]


async def test_a_model_is_asked_for_what_the_bundle_says(
    peers: Peers, channel: aio.Channel
) -> None:
    peers.answers += [LINK, [FINISHED]]
    await _generate(LinkerClient(channel))
    link, generate = peers.requests
    assert (link.config.model, link.config.needs_actions) == ("local/babbler", True)
    assert (generate.link, generate.request_id, generate.tokens_max) == (
        "links/1",
        PROMPT.request_id,
        64,
    )
    assert [action.name for action in generate.actions] == ["knowledge.search", "board.post"]
    assert list(generate.callers) == WAITING
    assert generate.messages[1].calls[0].id == "step-1-1"
    assert generate.action_choice == linker_pb2.ACTION_CHOICE_REQUIRED


async def test_keys_are_released_on_behalf_of_the_agent_also_for_fallbacks(
    peers: Peers, channel: aio.Channel
) -> None:
    peers.answers += [LINK, [FINISHED]]
    fallback = FallbackModel("far/off", "secrets/spare")
    model = replace(PROMPT.model, fallbacks=(fallback,), cache_seconds=60)
    prompt = replace(PROMPT, model=model)
    async with aclosing(LinkerClient(channel).generate(prompt)) as answer:
        async for _ in answer:
            pass
    link = peers.requests[0]
    assert link.account == PROMPT.account
    assert list(link.config.fallbacks) == [
        linker_pb2.Fallback(model="far/off", credential="secrets/spare")
    ]
    assert link.config.cache_seconds == 60


async def test_a_rate_that_is_used_up_passes(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [LINK, Refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED")]
    with pytest.raises(PeerUnavailable):
        await _generate(LinkerClient(channel))


async def test_a_model_is_linked_once(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [LINK, [FINISHED], [FINISHED]]
    client = LinkerClient(channel)
    await _generate(client)
    await _generate(client)
    assert len(peers.requests) == 3


async def test_a_link_that_was_lost_is_made_again(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [LINK, LINK_NOT_FOUND, LINK, [FINISHED]]
    assert len(await _generate(LinkerClient(channel))) == 1


@pytest.mark.parametrize(
    "refusal",
    [Refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL"), Refusal("CANCELLED", ""), LINK_NOT_FOUND],
)
async def test_a_linker_that_is_busy_or_stops_is_asked_again(
    peers: Peers, channel: aio.Channel, refusal: Refusal
) -> None:
    peers.answers += [LINK, refusal, LINK, refusal]
    with pytest.raises(PeerUnavailable):
        await _generate(LinkerClient(channel))


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refusal("RESOURCE_EXHAUSTED", "BUDGET_EXCEEDED"), "BUDGET_EXCEEDED"),
        (Refusal("FAILED_PRECONDITION", "GAS_REFUSED"), "GAS_FAILED"),
        (Refusal("INVALID_ARGUMENT", "CONTEXT_EXCEEDED"), "MODEL_FAILED"),
        (Refusal("INVALID_ARGUMENT", "SCHEMA_UNSUPPORTED"), "MODEL_FAILED"),
        (Refusal("INTERNAL", "INTERNAL"), "MODEL_FAILED"),
        (Refusal("INTERNAL", ""), "MODEL_FAILED"),
    ],
)
async def test_a_refused_generation_fails_the_run(
    peers: Peers, channel: aio.Channel, refusal: Refusal, reason: str
) -> None:
    peers.answers += [LINK, refusal]
    with pytest.raises(RunFails) as caught:
        await _generate(LinkerClient(channel))
    assert caught.value.failure.reason == reason


async def test_a_model_that_is_gone_fails_the_run(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [Refusal("NOT_FOUND", "MODEL_NOT_FOUND")]
    with pytest.raises(RunFails, match="MODEL_FAILED"):
        await _generate(LinkerClient(channel))


async def test_a_bundle_comes_as_it_is(peers: Peers, channel: aio.Channel) -> None:
    sealed = FakeSigner().seal(payload())
    peers.answers += [assembler_pb2.GetBundleResponse(bundle=bundle_to_proto(sealed))]
    assert await AssemblerClient(channel).get(sealed.name) == sealed


async def test_an_unknown_bundle_is_not_found(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [Refusal("NOT_FOUND", "BUNDLE_NOT_FOUND")]
    with pytest.raises(BundleNotFound):
        await AssemblerClient(channel).get("bundles/1")


async def test_passages_are_found(peers: Peers, channel: aio.Channel) -> None:
    passage = knowledge_pb2.Passage(document="collections/a/documents/b", text="c")
    peers.answers += [knowledge_pb2.SearchKnowledgeResponse(passages=[passage])]
    found = await KnowledgeClient(channel).search(["collections/a"], "query", 2)
    assert found == (Passage("collections/a/documents/b", "c"),)


async def test_one_call_is_held_and_charged(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [
        metering_pb2.MeterGasResponse(outcomes=[metering_pb2.MeterOutcome(hold=hold)])
        for hold in (gas_pb2.Hold(name="holds/1", gas=5), gas_pb2.Hold(charged_gas=4))
    ]
    gas = GasClient(channel)
    hold = await gas.reserve(
        request_id="r", account="agents/a", run=RUN, callers=(BOSS, CLERK), item="action a"
    )
    assert (hold, await gas.settle(hold)) == (Hold("holds/1", 5), 4)
    (asked,) = peers.requests[0].operations
    assert [usage.amount for usage in asked.reserve.usages] == [1]
    assert list(asked.reserve.callers) == WAITING


async def test_a_budget_is_declared_by_the_manifest(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [gas_pb2.SetBudgetResponse()]
    await GasClient(channel).declare_budget("agents/a", program().budget)
    budget = peers.requests[0].budget
    assert (budget.gas_limit, budget.origin) == (50_000, gas_pb2.Budget.ORIGIN_MANIFEST)
    assert budget.period == gas_pb2.Budget.PERIOD_DAY


async def test_a_budget_begins_in_its_time_zone(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [gas_pb2.SetBudgetResponse()]
    budget = replace(program().budget, time_zone="Europe/Berlin")
    await GasClient(channel).declare_budget("agents/a", budget)
    assert peers.requests[0].budget.time_zone == "Europe/Berlin"


async def test_a_run_is_limited_until_it_ends(peers: Peers, channel: aio.Channel) -> None:
    peers.answers += [gas_pb2.SetBudgetResponse()]
    await GasClient(channel).limit_run(run=RUN, account="agents/a", gas=700)
    assert peers.requests[0].budget == gas_pb2.Budget(
        account="agents/a",
        origin=gas_pb2.Budget.ORIGIN_MANIFEST,
        id=RUN.removeprefix("runs/"),
        run=RUN,
        period=gas_pb2.Budget.PERIOD_TOTAL,
        gas_limit=700,
    )


async def test_a_receipt_keeps_its_lines(peers: Peers, channel: aio.Channel) -> None:
    usage = action_pb2.Usage(meter=action_pb2.Usage.METER_CONNECTOR_CALLS, amount=1)
    charge = action_pb2.Charge(line=1, item="action a", usages=[usage], gas=4, price_version="v")
    receipt = action_pb2.Receipt(
        run=RUN, charges=[charge], total_gas=4, digest=action_pb2.Digest(sha256="d", size_bytes=9)
    )
    peers.answers += [gas_pb2.CloseRunResponse(receipt=receipt)]
    closed = await GasClient(channel).close(run=RUN, account="agents/a")
    assert (closed.sha256, closed.total_gas, closed.signature) == ("d", 4, None)
    assert closed.charges[0].usages == (Usage("connector_calls", 1),)


async def test_the_policy_of_keys_hears_which_agent_asks(
    peers: Peers, channel: aio.Channel
) -> None:
    peers.answers += [keymanager_pb2.SignResponse()]
    await _sign_request(channel)
    assert peers.requests[0].account == "agents/a"


async def test_a_person_who_has_to_approve_is_waited_for(
    peers: Peers, channel: aio.Channel
) -> None:
    code, reason = "FAILED_PRECONDITION", "APPROVAL_REQUIRED"
    peers.answers += [ApprovalRequired(code, reason, approval="approvals/1", rule="posts")]
    with pytest.raises(PersonAwaited, match="a person who decides approvals/1") as caught:
        await _sign_request(channel)
    assert (caught.value.approval, caught.value.rule) == ("approvals/1", "posts")


STATES = policy_pb2.Approval


@pytest.mark.parametrize(
    ("state", "is_decided"),
    [
        (STATES.STATE_PENDING, False),
        (STATES.STATE_APPROVED, True),
        (STATES.STATE_DENIED, True),
        (STATES.STATE_USED, True),
    ],
)
async def test_whether_a_person_has_decided_is_read(
    peers: Peers, channel: aio.Channel, state: STATES.State.ValueType, *, is_decided: bool
) -> None:
    approval = policy_pb2.Approval(state=state)
    peers.answers += [policy_pb2.GetApprovalResponse(approval=approval)]
    approvals = ApprovalsClient(channel, lambda: channel)
    assert await approvals.is_decided("approvals/1") is is_decided
    assert peers.requests[0].name == "approvals/1"


async def test_a_question_that_is_gone_can_be_asked_anew(
    peers: Peers, channel: aio.Channel
) -> None:
    peers.answers += [Refusal("NOT_FOUND", "APPROVAL_NOT_FOUND")]
    assert await ApprovalsClient(channel, lambda: channel).is_decided("approvals/1")


async def decide(peers: Peers, channel: aio.Channel) -> None:
    """Let somebody decide on a channel of his own."""
    approvals = ApprovalsClient(channel, lambda: open_channel(peers.address))
    await approvals.decide("approvals/1", allows=True, authorization="Bearer alice")


async def test_a_person_decides_with_the_rights_of_his_own(
    peers: Peers, channel: aio.Channel
) -> None:
    peers.answers += [policy_pb2.DecideApprovalResponse()]
    await decide(peers, channel)
    assert peers.requests == [policy_pb2.DecideApprovalRequest(name="approvals/1", approved=True)]
    assert peers.authorizations == ["Bearer alice"]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("APPROVAL_NOT_FOUND", ApprovalNotFound),
        ("APPROVAL_DECIDED", ApprovalDecided),
        ("TOKEN_INVALID", TokenInvalid),
    ],
)
async def test_why_a_person_cannot_decide_is_said(
    peers: Peers, channel: aio.Channel, reason: str, error: type[ServiceError]
) -> None:
    peers.answers += [Refusal("FAILED_PRECONDITION", reason)]
    with pytest.raises(error):
        await decide(peers, channel)


Ask = Callable[[aio.Channel], Awaitable[object]]


def _sign_request(channel: aio.Channel) -> Awaitable[object]:
    return KeymanagerClient(channel).sign_request("secrets/a", b"m", account="agents/a")


ASKS: list[tuple[str, Ask]] = [
    ("KNOWLEDGE_FAILED", lambda peer: KnowledgeClient(peer).search(["collections/a"], "q", 1)),
    ("GAS_FAILED", lambda peer: GasClient(peer).settle(Hold("holds/1", 1))),
    ("GAS_FAILED", lambda peer: GasClient(peer).declare_budget("agents/a", program().budget)),
    ("GAS_FAILED", lambda peer: GasClient(peer).limit_run(run=RUN, account="agents/a", gas=1)),
    ("CREDENTIAL_REFUSED", _sign_request),
]


@pytest.mark.parametrize(("reason", "ask"), ASKS)
@pytest.mark.parametrize("code", ["NOT_FOUND", "INTERNAL", "PERMISSION_DENIED"])
async def test_what_a_peer_refuses_during_a_run_fails_it(
    peers: Peers, channel: aio.Channel, ask: Ask, reason: str, code: str
) -> None:
    peers.answers += [Refusal(code, "SOMETHING")]
    with pytest.raises(RunFails) as caught:
        await ask(channel)
    assert caught.value.failure.reason == reason


@pytest.mark.parametrize("reason", ["SEAL_BROKEN", "KIND_UNSUITABLE", "SECRET_NOT_FOUND"])
async def test_a_key_manager_that_cannot_sign_a_receipt_is_asked_again(
    peers: Peers, channel: aio.Channel, reason: str
) -> None:
    peers.answers += [Refusal("FAILED_PRECONDITION", reason)]
    with pytest.raises(PeerUnavailable):
        await KeymanagerClient(channel).sign_receipt("digest")


async def test_a_peer_that_is_down_is_unavailable() -> None:
    channel: Any = aio.insecure_channel("127.0.0.1:1")
    with pytest.raises(PeerUnavailable):
        await KeymanagerClient(channel).bundle_key()
    await channel.close()
