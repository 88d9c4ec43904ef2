"""Whatever is asked of the linker, it answers with a reason."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actionvm.action.v1.action_pb2 import Action, ActionCall, Caller
from actionvm.linker.v1 import linker_pb2 as pb
from linker.service import CALLERS
from tests.contracts.contract import error_info
from tests.grpc_fixtures import HostedFactory
from tests.linker.orders import ACCOUNT, RUN
from tests.linker.requests import LINK, MODEL, PNG, Stub, request, serve


@pytest.fixture(scope="module")
def hosted_service() -> HostedFactory:
    return serve


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[Stub]:
    return Stub


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
    pb.Message,
    role=ENUMS,
    text=TEXTS,
    calls=st.lists(ACTION_CALLS, max_size=2),
    call_id=TEXTS,
    images=st.lists(
        st.builds(
            pb.Image,
            media_type=st.sampled_from(["image/png", "image/gif", "text/html", ""]),
            data=st.binary(max_size=9) | st.just(PNG.data),
        ),
        max_size=2,
    ),
)
REQUESTS: dict[str, st.SearchStrategy[Message]] = {
    "LinkModel": st.builds(
        pb.LinkModelRequest,
        config=st.builds(
            pb.ModelConfig,
            model=TEXTS,
            credential=TEXTS,
            context_tokens_min=SMALL,
            cache_seconds=SMALL,
            fallbacks=st.lists(st.builds(pb.Fallback, model=TEXTS, credential=TEXTS), max_size=2),
            needs_images=st.booleans(),
            needs_answer_schema=st.booleans(),
        ),
        account=TEXTS,
    ),
    "ListLinks": st.builds(pb.ListLinksRequest, page_size=SMALL, page_token=TEXTS),
    "UnlinkModel": st.builds(pb.UnlinkModelRequest, name=TEXTS.filter(lambda name: name != LINK)),
    "Embed": st.builds(
        pb.EmbedRequest,
        request_id=TEXTS,
        link=TEXTS,
        account=TEXTS,
        run=TEXTS,
        texts=st.lists(TEXTS, max_size=2),
    ),
    "Rerank": st.builds(
        pb.RerankRequest,
        request_id=TEXTS,
        link=TEXTS,
        account=TEXTS,
        run=TEXTS,
        query=TEXTS,
        documents=st.lists(TEXTS, max_size=2),
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
        min_p=FLOATS,
        top_k=SMALL,
        frequency_penalty=FLOATS,
        presence_penalty=FLOATS,
        logprobs=SMALL,
        calls_max=SMALL,
        action=TEXTS,
        answer_schema=SCHEMAS | TEXTS,
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
