"""Contract of the linker: every RPC is called, with each reason that it documents."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from actionvm.action.v1.action_pb2 import Action
from actionvm.linker.v1 import linker_pb2 as pb
from actionvm.linker.v1 import linker_pb2_grpc
from chassis.errors import PeerUnavailable, RequestIdReused, ServiceError
from chassis.server import Hosted
from linker.conversation import Choice, Prompt, Tokens, WrittenCall
from linker.errors import (
    BudgetExceeded,
    CredentialRefused,
    GasRefused,
    HubDenied,
    HubUnavailable,
    ModelRefused,
    ProviderUnavailable,
    QueueFull,
    RateLimited,
    SchemaUnsupported,
)
from linker.linker import Linker
from linker.links import ModelConfig, link_name
from linker.ports import Hold, HubFile, HubSource, Key, Reservation
from linker.providers.scripted import Line, ScriptedModel, ScriptedProvider
from linker.providers.shelf import Shelf
from linker.service import LinkerService, hosted
from tests.contracts.contract import Call, make
from tests.fakes.gas_meter import PRICELESS, FakeGasMeter
from tests.fakes.keys import FakeKeys
from tests.grpc_fixtures import StubAs
from tests.linker.orders import ACCOUNT, RUN, StoppedClock, make_linker
from tests.linker.shelves import FILE, REPOSITORY, TINY, MemoryHub, make_shelf

MODEL = "local/actor"
LINK = link_name(ModelConfig(MODEL))
GONE_LINK = link_name(ModelConfig("local/gone"))
UNWANTED_LINK = link_name(ModelConfig("local/unwanted"))
BUSY_LINK = link_name(ModelConfig("busy/actor"))
VECTOR_LINK = link_name(ModelConfig("vectors/actor"))
UNKNOWN = f"links/{'0' * 32}"
POST = Action(
    name="board.post",
    description="Posts a text.",
    parameters_schema='{"type": "object", "properties": {"text": {"type": "string"}}}',
    effect=Action.EFFECT_WRITE,
)
HELLO = [pb.Message(role=pb.Message.ROLE_USER, text="Hello")]

# The files to add lie here, and the folder of the models in it.
SHELF = Path(tempfile.gettempdir()) / f"actionvm-contract-{os.getpid()}"

# The request id says what the meter of this test answers, the text what the model does.
GAS_ANSWERS: dict[str, ServiceError] = {
    "poor": BudgetExceeded(ACCOUNT, "5 gas are left"),
    "closed": GasRefused(ACCOUNT, "the run is closed"),
    "reused": RequestIdReused("reused"),
    "down": PeerUnavailable("gas"),
}
HUB_ANSWERS: dict[str, ServiceError] = {
    "gated.gguf": HubDenied(REPOSITORY, "accept its licence"),
    "down.gguf": HubUnavailable("no route"),
}
MODEL_ANSWERS: dict[str, Line | ServiceError] = {
    "full": QueueFull(32),
    "bad schema": SchemaUnsupported("board.post", "not"),
    "refused": ModelRefused(MODEL, "it is about its maker"),
    "limited": RateLimited(MODEL, "enough for today", 60),
    "away": ProviderUnavailable(MODEL, "529", 60),
    "no key": CredentialRefused(MODEL, "it was revoked"),
    "json": Line("[]"),
}


class ScriptedMeter(FakeGasMeter):
    """A meter that refuses the request ids above."""

    async def reserve(self, reservation: Reservation) -> Hold:
        if reservation.request_id in GAS_ANSWERS:
            self.fail_next(GAS_ANSWERS[reservation.request_id])
        return await super().reserve(reservation)


def say(prompt: Prompt) -> Line | ServiceError:
    """Answer as the last message asks."""
    if prompt.choice is Choice.REQUIRED:
        return Line(calls=(WrittenCall("board.post", '{"text": "Up."}'),))
    return MODEL_ANSWERS.get(prompt.conversation.messages[-1].text, Line("All is well."))


class NobodyThere(ScriptedProvider):
    """A provider that does not answer."""

    async def open(self, model: str, key: Key | None = None) -> ScriptedModel:
        raise ProviderUnavailable(model, "no route")


async def prepare() -> Linker:
    """Return a linker with a link that works and one whose model is gone."""
    models = ("actor", "gone", "priceless", "spare", "unwanted")
    provider = ScriptedProvider(say, models=models, context_tokens=1_000)
    vectors = ScriptedProvider(say, dimensions=3)
    linker = make_linker(
        provider,
        ScriptedMeter(),
        keys=FakeKeys(StoppedClock(), known="sk-1"),
        vectors=vectors,
        down=NobodyThere(say),
        busy=ScriptedProvider(say),
    )
    for model in (MODEL, "local/gone", "local/unwanted", "vectors/actor", "busy/actor"):
        await linker.link(ModelConfig(model))
    provider._models = tuple(model for model in models if model != "gone")
    return linker


def generate(
    request_id: str = "r", *, text: str = "Hello", link: str = LINK, **more: object
) -> pb.GenerateRequest:
    request = pb.GenerateRequest(
        request_id=request_id, link=link, account=ACCOUNT, run=RUN, tokens_max=50
    )
    request.messages.add(role=pb.Message.ROLE_USER, text=text)
    request.MergeFrom(pb.GenerateRequest(**more))  # type: ignore[arg-type]  # fields by name
    return request


def embed(
    request_id: str = "r", link: str = VECTOR_LINK, account: str = ACCOUNT
) -> pb.EmbedRequest:
    return pb.EmbedRequest(
        request_id=request_id, link=link, account=account, run=RUN, texts=["one", "two words"]
    )


def rerank(
    request_id: str = "r", link: str = VECTOR_LINK, account: str = ACCOUNT
) -> pb.RerankRequest:
    return pb.RerankRequest(
        request_id=request_id,
        link=link,
        account=account,
        run=RUN,
        query="two",
        documents=["one", "two words"],
    )


def link(model: str, account: str = "", **more: object) -> pb.LinkModelRequest:
    config = pb.ModelConfig(model=model, **more)  # type: ignore[arg-type]  # as above
    return pb.LinkModelRequest(config=config, account=account)


def pull(model: str, file: str = FILE, sha256: str = "") -> pb.PullModelRequest:
    return pb.PullModelRequest(model=model, repository=REPOSITORY, file=file, sha256=sha256)


def add(model: str, name: str) -> pb.AddModelRequest:
    return pb.AddModelRequest(model=model, path=str(SHELF / name))


CALLS: list[Call] = [
    Call("LinkModel", link(MODEL)),
    Call("LinkModel", link(MODEL, needs_actions=True, context_tokens_min=1_000), "assembler"),
    Call("LinkModel", link("babbler"), reason="INVALID_FIELD"),
    Call("LinkModel", link("openai/gpt-9"), reason="PROVIDER_NOT_FOUND"),
    Call("LinkModel", link("local/nobody"), reason="MODEL_NOT_FOUND"),
    Call("LinkModel", link(MODEL, context_tokens_min=1_001), reason="MODEL_UNUSABLE"),
    Call("LinkModel", link(MODEL), "gas", reason="METHOD_DENIED"),
    Call("LinkModel", link(MODEL, fallbacks=[pb.Fallback(model="local/spare")])),
    Call("LinkModel", link(PRICELESS.removeprefix("model ")), reason="PRICE_NOT_FOUND"),
    Call("LinkModel", link(MODEL, credential="secrets/a"), reason="INVALID_FIELD"),
    Call("LinkModel", link(MODEL, account=ACCOUNT, credential="secrets/known")),
    Call(
        "LinkModel",
        link(MODEL, account=ACCOUNT, credential="secrets/unknown"),
        reason="CREDENTIAL_REFUSED",
    ),
    Call("LinkModel", link("down/x"), reason="PROVIDER_UNAVAILABLE"),
    Call("GetLink", pb.GetLinkRequest(name=LINK), "runtime"),
    Call("GetLink", pb.GetLinkRequest(name=UNKNOWN), reason="LINK_NOT_FOUND"),
    Call("GetLink", pb.GetLinkRequest(name="links/1"), reason="INVALID_FIELD"),
    Call("ListModels", pb.ListModelsRequest()),
    Call("ListModels", pb.ListModelsRequest(page_token="x"), reason="INVALID_FIELD"),
    Call("Generate", generate(), "runtime"),
    Call("Generate", generate(actions=[POST], action_choice=pb.ACTION_CHOICE_REQUIRED)),
    Call("Generate", generate(), "assembler", reason="METHOD_DENIED"),
    Call("Generate", generate(link=UNKNOWN), reason="LINK_NOT_FOUND"),
    Call("Generate", generate(link=GONE_LINK), reason="MODEL_UNUSABLE"),
    Call("Generate", generate(tokens_max=1_000), reason="CONTEXT_EXCEEDED"),
    Call("Generate", generate(text="bad schema"), reason="SCHEMA_UNSUPPORTED"),
    Call("Generate", generate("poor"), reason="BUDGET_EXCEEDED"),
    Call("Generate", generate("closed"), reason="GAS_REFUSED"),
    Call("Generate", generate("reused"), reason="REQUEST_ID_REUSED"),
    Call("Generate", generate("down"), reason="PEER_UNAVAILABLE"),
    Call("Generate", generate(text="full"), reason="QUEUE_FULL"),
    Call("Generate", generate(text="json", answer_schema='{"type": "array"}')),
    Call("Generate", generate(answer_schema='{"type": "array"}'), reason="SCHEMA_UNSUPPORTED"),
    Call("Generate", generate(answer_schema="[]"), reason="INVALID_FIELD"),
    Call("Generate", generate(text="refused"), reason="MODEL_REFUSED"),
    Call("Generate", generate(text="limited", link=BUSY_LINK), reason="RATE_LIMITED"),
    Call("Generate", generate(text="away"), reason="PROVIDER_UNAVAILABLE"),
    Call("Generate", generate(text="no key"), reason="CREDENTIAL_REFUSED"),
    Call("CountTokens", pb.CountTokensRequest(link=LINK, messages=HELLO, actions=[POST])),
    Call("CountTokens", pb.CountTokensRequest(link=LINK), reason="INVALID_FIELD"),
    Call(
        "CountTokens",
        pb.CountTokensRequest(link=UNKNOWN, messages=HELLO),
        reason="LINK_NOT_FOUND",
    ),
    Call(
        "CountTokens",
        pb.CountTokensRequest(link=GONE_LINK, messages=HELLO),
        reason="MODEL_UNUSABLE",
    ),
    Call("ListLinks", pb.ListLinksRequest()),
    Call("ListLinks", pb.ListLinksRequest(page_size=-1), reason="INVALID_FIELD"),
    Call("ListLinks", pb.ListLinksRequest(), "runtime", reason="METHOD_DENIED"),
    Call("UnlinkModel", pb.UnlinkModelRequest(name=UNWANTED_LINK)),
    Call("UnlinkModel", pb.UnlinkModelRequest(name=UNKNOWN), reason="LINK_NOT_FOUND"),
    Call("UnlinkModel", pb.UnlinkModelRequest(name="links/1"), reason="INVALID_FIELD"),
    *(
        call
        for method, ask in (("Embed", embed), ("Rerank", rerank))
        for call in (
            Call(method, ask()),
            Call(method, ask(account=""), reason="INVALID_FIELD"),
            Call(method, ask(link=UNKNOWN), reason="LINK_NOT_FOUND"),
            Call(method, ask(link=LINK), reason="MODEL_UNUSABLE"),
            Call(method, ask(request_id="poor"), reason="BUDGET_EXCEEDED"),
            Call(method, ask(request_id="closed"), reason="GAS_REFUSED"),
            Call(method, ask(request_id="down"), reason="PEER_UNAVAILABLE"),
            Call(method, ask(), "gas", reason="METHOD_DENIED"),
        )
    ),
    Call("PullModel", pull("local/pulled")),
    Call("PullModel", pull("pulled"), reason="INVALID_FIELD"),
    Call("PullModel", pull("local/new", "none.gguf"), reason="HUB_FILE_NOT_FOUND"),
    Call("PullModel", pull("local/new", "gated.gguf"), reason="HUB_DENIED"),
    Call("PullModel", pull("local/new", "down.gguf"), reason="HUB_UNAVAILABLE"),
    Call("PullModel", pull("local/new", sha256="0" * 64), reason="CHECKSUM_MISMATCH"),
    Call("PullModel", pull("local/taken"), reason="MODEL_EXISTS"),
    Call("PullModel", pull("local/new", "text.gguf"), reason="MODEL_UNUSABLE"),
    Call("PullModel", pull("local/new", "huge.gguf"), reason="STORAGE_UNUSABLE"),
    Call("PullModel", pull("local/new"), "runtime", reason="METHOD_DENIED"),
    Call("AddModel", add("local/added", "tiny.gguf")),
    Call("AddModel", add("local/new", "none.gguf"), reason="INVALID_FIELD"),
    Call("AddModel", add("local/taken", "tiny.gguf"), reason="MODEL_EXISTS"),
    Call("AddModel", add("local/new", "text.gguf"), reason="MODEL_UNUSABLE"),
    Call("AddModel", add("local/loop", "tiny.gguf"), reason="STORAGE_UNUSABLE"),
    Call("RemoveModel", pb.RemoveModelRequest(model="local/unloved")),
    Call("RemoveModel", pb.RemoveModelRequest(model="local/none"), reason="MODEL_NOT_FOUND"),
    Call("RemoveModel", pb.RemoveModelRequest(model="local/folder"), reason="STORAGE_UNUSABLE"),
    Call("RemoveModel", pb.RemoveModelRequest(model="unloved"), reason="INVALID_FIELD"),
]


class ScriptedHub(MemoryHub):
    """A hub that refuses the files above."""

    def find(self, source: HubSource) -> HubFile:
        if source.file in HUB_ANSWERS:
            raise HUB_ANSWERS[source.file]
        found = super().find(source)
        return replace(found, size_bytes=2**60) if source.file == "huge.gguf" else found


def prepare_shelf() -> Shelf:
    """Return a shelf that the calls below find as they need it, in whatever order they come."""
    models = SHELF / "models"
    (models / "folder.gguf").mkdir(parents=True)
    (models / "loop.gguf").symlink_to("loop.gguf")
    (models / "taken.gguf").write_bytes(b"mine")
    (models / "unloved.gguf").write_bytes(b"mine")
    (SHELF / "tiny.gguf").write_bytes(TINY)
    (SHELF / "text.gguf").write_bytes(b"x")
    files = {FILE: TINY, "text.gguf": b"x", "huge.gguf": b"x"}
    return make_shelf(
        models, ScriptedHub({(REPOSITORY, name): content for name, content in files.items()})
    )


@pytest.fixture(scope="module")
def hosted_service() -> Callable[[], AbstractAsyncContextManager[Hosted]]:
    @asynccontextmanager
    async def build() -> AsyncIterator[Hosted]:
        try:
            yield hosted(LinkerService(await prepare(), prepare_shelf()))
        finally:
            shutil.rmtree(SHELF)

    return build


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[linker_pb2_grpc.LinkerServiceStub]:
    return linker_pb2_grpc.LinkerServiceStub


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.reason or 'OK'}")
def test_a_call_answers_as_the_contract_says(grpc_stub_as: StubAs, call: Call) -> None:
    make(grpc_stub_as, call)


def test_a_stream_ends_with_the_whole_answer(grpc_stub_as: StubAs) -> None:
    *deltas, last = make(grpc_stub_as, Call("Generate", generate("whole")))
    assert "".join(delta.text_delta for delta in deltas) == last.finished.text == "All is well."
    assert last.finished.model == MODEL
    assert last.finished.gas == sum(usage.amount for usage in last.finished.usages)
    assert Tokens(*(usage.amount for usage in last.finished.usages)).output == 3


def test_a_call_names_an_action_on_offer(grpc_stub_as: StubAs) -> None:
    request = generate("call", actions=[POST], action_choice=pb.ACTION_CHOICE_REQUIRED)
    *_, last = make(grpc_stub_as, Call("Generate", request))
    (call,) = last.finished.calls
    assert (call.action, call.arguments) == ("board.post", '{"text":"Up."}')
    assert last.finished.reason == pb.FINISH_REASON_ACTION
