"""Requests are checked field by field, and what they hold is nobody's business."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from actionvm.action.v1.action_pb2 import Action, ActionCall, Caller
from actionvm.linker.v1 import linker_pb2 as pb
from actionvm.linker.v1 import linker_pb2_grpc
from chassis.server import Hosted
from linker.conversation import Prompt
from linker.links import ModelConfig, link_name
from linker.messages.conversations import (
    ACTIONS_MAX,
    CALLS_MAX,
    MESSAGES_MAX,
    SCHEMA_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from linker.messages.generations import CALLERS_MAX
from linker.providers.scripted import Line, ScriptedProvider
from linker.service import CALLERS, LinkerService, hosted
from tests.contracts.contract import bad_request, error_info
from tests.fakes.gas_meter import FakeGasMeter
from tests.linker.orders import ACCOUNT, RUN, make_linker
from tests.linker.shelves import make_shelf

Stub: TypeAlias = linker_pb2_grpc.LinkerServiceStub

MODEL = "local/actor"
LINK = link_name(ModelConfig(MODEL))
CANARY = "canary-7f3a"
DEEP = "[" * 100_000


def say(prompt: Prompt) -> Line:
    text = prompt.conversation.messages[-1].text
    if text == f"crash {CANARY}":
        raise RuntimeError("llama_decode answered 1")
    return Line(f"You said {len(text)} letters to {CANARY}.")


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        provider = ScriptedProvider(say, models=("actor",), context_tokens=40_000)
        linker = make_linker(provider, FakeGasMeter())
        await linker.link(ModelConfig(MODEL))
        yield hosted(LinkerService(linker, make_shelf(Path("/nonexistent"))))

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


def message(role: str, text: str = "", **more: Any) -> pb.Message:  # noqa: ANN401  # any field
    return pb.Message(role=pb.Message.Role.Value(f"ROLE_{role}"), text=text, **more)


def act(**more: Any) -> Action:  # noqa: ANN401  # any field
    fields: dict[str, Any] = {
        "name": "board.post",
        "description": "Posts.",
        "parameters_schema": '{"type": "object"}',
        "effect": Action.EFFECT_WRITE,
        **more,
    }
    return Action(**fields)


def request(**more: Any) -> pb.GenerateRequest:  # noqa: ANN401  # any field
    fields: dict[str, Any] = {
        "request_id": "r",
        "link": LINK,
        "account": ACCOUNT,
        "run": RUN,
        "messages": [message("USER", "Hello")],
        "tokens_max": 50,
        **more,
    }
    return pb.GenerateRequest(**fields)


WAITING = Caller(account="agents/boss", run=RUN)
USER = message("USER", "Hello")
CALLING = message("ASSISTANT", calls=[ActionCall(id="c1", action="a", arguments="{}")])


def calling(**more: str) -> list[pb.Message]:
    call = {"id": "c1", "action": "a", "arguments": "{}", **more}
    return [USER, message("ASSISTANT", calls=[ActionCall(**call)])]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("request_id", {"request_id": ""}),
    ("request_id", {"request_id": "x" * 129}),
    ("link", {"link": "links/../x"}),
    ("account", {"account": "agents/"}),
    ("run", {"run": "runs/1"}),
    ("callers", {"callers": [WAITING] * (CALLERS_MAX + 1)}),
    ("callers[0].account", {"callers": [Caller(account="agents/", run=RUN)]}),
    ("callers[1].run", {"callers": [WAITING, Caller(account=ACCOUNT)]}),
    ("tokens_max", {"tokens_max": 0}),
    ("tokens_max", {"tokens_max": 32_769}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": float("nan")}),
    ("top_p", {"top_p": 1.1}),
    ("stops", {"stops": ["x"] * 9}),
    ("stops[1]", {"stops": ["x", ""]}),
    ("stops[0]", {"stops": ["x" * 257]}),
    ("messages", {"messages": []}),
    ("messages", {"messages": [USER] * (MESSAGES_MAX + 1)}),
    ("messages", {"messages": [message("USER", "x" * TEXT_BYTES_MAX)] * 5}),
    ("messages[0].role", {"messages": [pb.Message(text="x")]}),
    ("messages[0].role", {"messages": [pb.Message(role=99)]}),  # type: ignore[arg-type]  # wrong
    ("messages[0].text", {"messages": [message("USER", "ü" * (TEXT_BYTES_MAX // 2 + 1))]}),
    ("messages[0].calls", {"messages": [message("USER", calls=[ActionCall(id="c1")])]}),
    ("messages[1].calls", {"messages": [USER, message("ASSISTANT", calls=[{}] * (CALLS_MAX + 1))]}),
    ("messages[1].calls[0].id", {"messages": calling(id="")}),
    ("messages[1].calls[0].action", {"messages": calling(action="Board Post")}),
    ("messages[1].calls[0].arguments", {"messages": calling(arguments="[]")}),
    ("messages[1].calls[0].arguments", {"messages": calling(arguments='{"a": NaN}')}),
    ("messages[1].calls[0].arguments", {"messages": calling(arguments=DEEP)}),
    ("messages[0].call_id", {"messages": [message("USER", call_id="c1")]}),
    ("messages[0].call_id", {"messages": [message("ACTION", "1", call_id="c1")]}),
    ("messages[1].call_id", {"messages": [CALLING, message("ACTION", "1")]}),
    ("messages[1].text", {"messages": [CALLING, message("ACTION", "no json", call_id="c1")]}),
    ("action_choice", {"actions": [act()]}),
    ("action_choice", {"action_choice": pb.ACTION_CHOICE_REQUIRED}),
    ("action_choice", {"action_choice": 99}),
    ("actions", {"actions": [act(name=f"a{n}") for n in range(ACTIONS_MAX + 1)]}),
    ("actions[0].name", {"actions": [act(name="Board Post")]}),
    ("actions[1].name", {"actions": [act(), act()]}),
    ("actions[0].description", {"actions": [act(description="")]}),
    ("actions[0].description", {"actions": [act(description="x" * 1_025)]}),
    ("actions[0].effect", {"actions": [act(effect=Action.EFFECT_UNSPECIFIED)]}),
    *(
        ("actions[0].parameters_schema", {"actions": [act(parameters_schema=schema)]})
        for schema in (
            "",
            "{",
            "true",
            "{}",
            '{"type": "array"}',
            '{"type": "object", "properties": []}',
            '{"type": "object", "required": "a"}',
            DEEP[:SCHEMA_BYTES_MAX],
            '{"type": "object", "items": ' * 500 + "{}" + "}" * 500,
            json.dumps({"type": "object", "title": "x" * SCHEMA_BYTES_MAX}),
        )
    ),
]


@pytest.mark.parametrize(("field", "fields"), WRONG, ids=[field for field, _ in WRONG])
def test_a_wrong_field_is_named(grpc_stub: Stub, field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(grpc_stub.Generate(request(**fields)))
    assert list(bad_request(refused.value)) == [field]


@pytest.mark.parametrize("model", ["", "local", "local/", "/x", "Local/x", "a/" + "x" * 200, "a/*"])
def test_a_malformed_model_is_refused(grpc_stub: Stub, model: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.LinkModel(pb.LinkModelRequest(config=pb.ModelConfig(model=model)))
    assert list(bad_request(refused.value)) == ["config.model"]


def test_a_conversation_with_calls_and_results_is_taken(grpc_stub: Stub) -> None:
    messages = [USER, CALLING, message("ACTION", '{"ok": true}', call_id="c1")]
    *_, last = grpc_stub.Generate(request(messages=messages))
    assert last.finished.text.startswith("You said 12 letters")


def test_models_come_in_pages(grpc_stub: Stub) -> None:
    page = grpc_stub.ListModels(pb.ListModelsRequest(page_size=1))
    assert ([model.name for model in page.models], page.next_page_token) == ([MODEL], "")


def test_what_is_said_never_reaches_the_log(grpc_stub: Stub) -> None:
    secret = act(name=CANARY, description=CANARY)
    with capture_logs() as logs:
        list(
            grpc_stub.Generate(
                request(
                    messages=[message("USER", CANARY)],
                    actions=[secret],
                    action_choice=pb.ACTION_CHOICE_AUTO,
                )
            )
        )
        for text in (f"crash {CANARY}", CANARY * 100_000):
            with pytest.raises(grpc.RpcError):
                list(grpc_stub.Generate(request(messages=[message("USER", text)], top_p=3)))
            with pytest.raises(grpc.RpcError):
                list(
                    grpc_stub.Generate(
                        request(messages=[message("USER", f"crash {CANARY}")], stops=[CANARY])
                    )
                )
    assert len(logs) == 5
    assert CANARY not in repr(logs)


SMALL = st.integers(-2, 3) | st.sampled_from([2**31 - 1, -(2**31)])
TEXTS = st.sampled_from(["", "c1", "a", "{}", MODEL, LINK, ACCOUNT, RUN]) | st.text(max_size=20)
ENUMS = st.integers(0, 5)
FLOATS = st.sampled_from([0.0, 0.5, 3.0, float("nan"), float("inf")])
SCHEMAS = st.sampled_from(["{}", '{"type": "object"}', '{"type": "object", "not": {}}', "[["])
ACTION_CALLS = st.builds(ActionCall, id=TEXTS, action=TEXTS, arguments=TEXTS)
ACTIONS = st.builds(
    Action, name=TEXTS, description=TEXTS, parameters_schema=SCHEMAS | TEXTS, effect=ENUMS
)
MESSAGES = st.builds(
    pb.Message, role=ENUMS, text=TEXTS, calls=st.lists(ACTION_CALLS, max_size=2), call_id=TEXTS
)
REQUESTS: dict[str, st.SearchStrategy[Message]] = {
    "LinkModel": st.builds(
        pb.LinkModelRequest,
        config=st.builds(pb.ModelConfig, model=TEXTS, credential=TEXTS, context_tokens_min=SMALL),
    ),
    "GetLink": st.builds(pb.GetLinkRequest, name=TEXTS),
    "ListModels": st.builds(pb.ListModelsRequest, page_size=SMALL, page_token=TEXTS),
    "Generate": st.builds(
        request,
        link=TEXTS | st.just(LINK),
        callers=st.lists(st.builds(Caller, account=TEXTS, run=TEXTS), max_size=2),
        messages=st.lists(MESSAGES, max_size=3),
        actions=st.lists(ACTIONS, max_size=2),
        action_choice=ENUMS,
        tokens_max=SMALL,
        temperature=FLOATS,
        top_p=FLOATS,
        seed=st.integers(-(2**63), 2**63 - 1),
        stops=st.lists(TEXTS, max_size=3),
    ),
    "CountTokens": st.builds(
        pb.CountTokensRequest,
        link=TEXTS | st.just(LINK),
        messages=st.lists(MESSAGES, max_size=3),
        actions=st.lists(ACTIONS, max_size=2),
    ),
    "AddModel": st.builds(
        pb.AddModelRequest,
        model=TEXTS | st.just("local/x"),
        path=TEXTS | TEXTS.map("/{}".format),
    ),
    "PullModel": st.builds(
        pb.PullModelRequest,
        model=TEXTS | st.just("local/x"),
        repository=TEXTS | st.just("owner/x"),
        file=TEXTS | TEXTS.map("{}.gguf".format),
        revision=TEXTS,
        sha256=TEXTS,
    ),
    "RemoveModel": st.builds(pb.RemoveModelRequest, model=TEXTS | st.just("local/x")),
}


@pytest.mark.parametrize("method", sorted(REQUESTS))
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_breaks_the_service(grpc_stub: Stub, method: str, data: st.DataObject) -> None:
    assert method in CALLERS
    try:
        answer = getattr(grpc_stub, method)(data.draw(REQUESTS[method]))
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        assert error_info(error).reason not in ("", "INTERNAL")
