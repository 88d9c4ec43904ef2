"""Requests are checked field by field, and what they hold is nobody's business."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from actionvm.action.v1.action_pb2 import Action, ActionCall, Caller
from actionvm.linker.v1 import linker_pb2 as pb
from linker.messages.conversations import (
    ACTIONS_MAX,
    CALLS_MAX,
    IMAGE_BYTES_MAX,
    IMAGES_MAX,
    MESSAGES_MAX,
    SCHEMA_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from linker.messages.generations import CALLERS_MAX
from linker.messages.links import CACHE_SECONDS_MAX
from tests.contracts.contract import bad_request
from tests.grpc_fixtures import HostedFactory
from tests.linker.orders import ACCOUNT, RUN
from tests.linker.requests import (
    CANARY,
    DEEP,
    LINK,
    MODEL,
    PNG,
    Stub,
    act,
    acting,
    message,
    request,
    serve,
    showing,
)


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return serve


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


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
    ("min_p", {"min_p": 1.1}),
    ("min_p", {"min_p": float("nan")}),
    ("top_k", {"top_k": -1}),
    ("top_k", {"top_k": 1_001}),
    ("frequency_penalty", {"frequency_penalty": -2.1}),
    ("presence_penalty", {"presence_penalty": float("inf")}),
    ("logprobs", {"logprobs": 21}),
    ("logprobs", {"logprobs": -1}),
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
    ("messages[1].images", {"messages": [USER, message("ASSISTANT", images=[PNG])]}),
    ("messages[0].images", {"messages": [message("USER", images=[PNG] * (IMAGES_MAX + 1))]}),
    ("messages[0].images[1].media_type", {"messages": [showing("image/svg+xml", b"<svg/>")]}),
    ("messages[0].images[1].data", {"messages": [showing("image/jpeg", PNG.data)]}),
    ("messages[0].images[1].data", {"messages": [showing("image/png", b"")]}),
    (
        "messages[0].images[1].data",
        {"messages": [showing("image/png", PNG.data + bytes(IMAGE_BYTES_MAX))]},
    ),
    # This model reads none.
    ("messages", {"messages": [message("USER", images=[PNG])]}),
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
    ("calls_max", {"calls_max": 2}),
    ("calls_max", acting(calls_max=CALLS_MAX + 1)),
    ("calls_max", acting(calls_max=-1)),
    ("action", {"action": "board.post"}),
    ("action", acting(action="board.post")),
    ("action", acting(action="board.burn", action_choice=pb.ACTION_CHOICE_REQUIRED)),
    (
        "answer_schema",
        acting(answer_schema='{"type": "object"}', action_choice=pb.ACTION_CHOICE_REQUIRED),
    ),
    *(
        ("answer_schema", {"answer_schema": schema})
        for schema in ("{", "true", '{"type": "thing"}', DEEP[:SCHEMA_BYTES_MAX], DEEP)
    ),
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


WRONG_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("config.context_tokens_min", {"context_tokens_min": -1}),
    ("config.cache_seconds", {"cache_seconds": -1}),
    ("config.cache_seconds", {"cache_seconds": CACHE_SECONDS_MAX + 1}),
    ("config.credential", {"credential": "secrets/../x"}),
    ("config.fallbacks", {"fallbacks": [pb.Fallback(model=f"a/{n}") for n in range(5)]}),
    ("config.fallbacks[0].model", {"fallbacks": [pb.Fallback()]}),
    ("config.fallbacks[0]", {"fallbacks": [pb.Fallback(model=MODEL)]}),
    ("config.fallbacks[1]", {"fallbacks": [pb.Fallback(model="a/b")] * 2}),
    (
        "config.fallbacks[0].credential",
        {"fallbacks": [pb.Fallback(model="a/b", credential="key")]},
    ),
    ("account", {"fallbacks": [pb.Fallback(model="a/b", credential="secrets/key")]}),
]


@pytest.mark.parametrize(("field", "fields"), WRONG_CONFIGS, ids=[one for one, _ in WRONG_CONFIGS])
def test_a_wrong_configuration_is_refused(
    grpc_stub: Stub, field: str, fields: dict[str, Any]
) -> None:
    config = pb.ModelConfig(**{"model": MODEL, **fields})
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.LinkModel(pb.LinkModelRequest(config=config))
    assert list(bad_request(refused.value)) == [field]


def texts(*texts: str) -> dict[str, Any]:
    return {"request_id": "r", "link": LINK, "account": ACCOUNT, "run": RUN, "texts": texts}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("request_id", {**texts("a"), "request_id": ""}),
        ("texts", texts()),
        ("texts", texts(*["a"] * 257)),
        ("texts[1]", texts("a", "")),
        ("texts[0]", texts("x" * 65_537)),
        ("link", {**texts("a"), "link": ""}),
        ("run", {**texts("a"), "run": ""}),
        ("callers[0].run", {**texts("a"), "callers": [Caller(account=ACCOUNT)]}),
    ],
)
def test_wrong_texts_are_refused(grpc_stub: Stub, field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Embed(pb.EmbedRequest(**fields))
    assert list(bad_request(refused.value)) == [field]
    documents = fields.pop("texts")
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Rerank(pb.RerankRequest(**fields, query="a", documents=documents))
    assert list(bad_request(refused.value)) == [field.replace("texts", "documents")]


def test_a_query_is_required_and_short(grpc_stub: Stub) -> None:
    fields = texts("a")
    documents = fields.pop("texts")
    for query in ("", "x" * 8_193):
        with pytest.raises(grpc.RpcError) as refused:
            grpc_stub.Rerank(pb.RerankRequest(**fields, query=query, documents=documents))
        assert list(bad_request(refused.value)) == ["query"]


def test_links_come_in_pages(grpc_stub: Stub) -> None:
    grpc_stub.LinkModel(pb.LinkModelRequest(config=pb.ModelConfig(model=MODEL, needs_actions=True)))
    first = grpc_stub.ListLinks(pb.ListLinksRequest(page_size=1))
    rest = grpc_stub.ListLinks(pb.ListLinksRequest(page_token=first.next_page_token))
    names = [link.name for link in (*first.links, *rest.links)]
    assert (len(first.links), rest.next_page_token) == (1, "")
    assert names == sorted(names)
    assert LINK in names


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
