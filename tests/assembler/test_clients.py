"""The ports over real gRPC, against services that answer as their contracts say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.message import Message
from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from assembler.clients import connect_peers
from assembler.ports import Document, KnownAction, Link, ModelWish, Peers, Refusal, Signature
from assembler.problems import Code
from chassis.config import ServiceConfig
from chassis.errors import (
    InvalidField,
    NotFound,
    NotImplementedYet,
    PeerUnavailable,
    ServiceError,
)
from chassis.problems import Flaw
from chassis.server import Hosted, start_server
from chassis.tls import Bearer
from tests.fakes.assembler_peers import FakeCompiler
from tests.grpc_fixtures import identities_json, token_of

WISH = ModelWish(
    "local/babbler",
    "secrets/x",
    needs_actions=True,
    context_tokens_min=160,
    account="agents/brief",
    fallbacks=(("far/off", ""),),
    cache_seconds=60,
    needs_answer_schema=True,
)
DOCUMENT = Document("collections/a/documents/b.md", "text", "private")
SHA256 = "5" * 64


@dataclass(eq=False)
class _Refused(NotFound):
    """A refusal with any reason."""

    message = "it is not there"
    why: str

    @property
    def reason(self) -> str:  # type: ignore[override]  # a class of one reason each elsewhere
        """Return the reason that the test chose."""
        return self.why


class Answering:
    """All services of the system in one, with answers that a test sets by method.

    A list is answers to call after call.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Message | ServiceError | list[Message]] = {}
        self.requests: list[Message] = []

    def __getattr__(self, method: str) -> object:
        """Return the behaviour of a method."""

        async def answer(request: Message, context: object) -> Message:
            self.requests.append(request)
            answer = self.answers.get(method, NotImplementedYet(method))
            if isinstance(answer, ServiceError):
                raise answer
            if isinstance(answer, list):
                return answer.pop(0)
            return answer

        return answer


@asynccontextmanager
async def _serving(answering: Answering, folder: Path) -> AsyncIterator[Peers]:
    """Serve the five peers and connect to them."""
    (folder / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=folder,
        identities_file=folder / "identities.json",
        token_file=folder / "token",
        tls="off",
    )
    modules = {
        "runtime": (runtime_pb2, runtime_pb2_grpc),
        "linker": (linker_pb2, linker_pb2_grpc),
        "keymanager": (keymanager_pb2, keymanager_pb2_grpc),
        "knowledge": (knowledge_pb2, knowledge_pb2_grpc),
        "gas": (gas_pb2, gas_pb2_grpc),
    }
    servers = []
    channels: dict[str, aio.Channel] = {}
    for peer, (pb, pb_grpc) in modules.items():
        name = f"{peer.capitalize()}Service"
        descriptor = pb.DESCRIPTOR.services_by_name[name]
        add = getattr(pb_grpc, f"add_{name}Servicer_to_server")
        hosted = Hosted(
            descriptor=descriptor,
            add_to=lambda server, add=add: add(answering, server),  # type: ignore[misc]  # bound now
            callers={method.name: frozenset({"assembler"}) for method in descriptor.methods},
        )
        servers.append(await start_server(config, hosted))
        channels[peer] = Bearer(token_of("assembler")).connect(servers[-1].address, "peer")
    try:
        yield connect_peers(
            runtime=channels["runtime"],
            linker=channels["linker"],
            keymanager=channels["keymanager"],
            knowledge=channels["knowledge"],
            gas=channels["gas"],
            compiler=FakeCompiler(),
        )
    finally:
        for channel in channels.values():
            await channel.close(None)
        for server in servers:
            await server.grpc_server.stop(0)


@pytest.fixture
async def answering() -> Answering:
    return Answering()


@pytest.fixture
async def peers(answering: Answering, tmp_path: Path) -> AsyncIterator[Peers]:
    async with _serving(answering, tmp_path) as peers:
        yield peers


async def test_the_catalogue_is_that_of_the_runtime(answering: Answering, peers: Peers) -> None:
    action = action_pb2.Action(
        name="a",
        description="d",
        parameters_schema='{"type": "object"}',
        effect=action_pb2.Action.EFFECT_WRITE,
    )
    found = runtime_pb2.CatalogueAction(
        action=action,
        needs_credential=True,
        settings_schema='{"type": "object"}',
        output_schema='{"type": "array"}',
    )
    answering.answers["ListActions"] = runtime_pb2.ListActionsResponse(actions=[found])

    assert await peers.catalogue.actions() == [
        KnownAction(
            name="a",
            program="catalogue:a",
            description="d",
            parameters_schema={"type": "object"},
            effect="write",
            needs_credential=True,
            settings_schema={"type": "object"},
            output_schema={"type": "array"},
        )
    ]


async def test_an_action_without_a_schema_takes_no_settings(
    answering: Answering, peers: Peers
) -> None:
    action = action_pb2.Action(
        name="a", description="d", parameters_schema="{}", effect=action_pb2.Action.EFFECT_READ
    )
    found = runtime_pb2.CatalogueAction(action=action)
    answering.answers["ListActions"] = runtime_pb2.ListActionsResponse(actions=[found])
    (listed,) = await peers.catalogue.actions()

    assert (listed.effect, listed.settings_schema) == ("read", {"additionalProperties": False})
    assert listed.output_schema == {}


async def test_a_link_is_what_the_linker_made(answering: Answering, peers: Peers) -> None:
    link = linker_pb2.Link(name="links/x", context_tokens=2_048, weights_sha256=SHA256)
    answering.answers["LinkModel"] = linker_pb2.LinkModelResponse(link=link)

    assert await peers.models.link(WISH) == Link(2_048, SHA256)
    assert answering.requests == [
        linker_pb2.LinkModelRequest(
            config=linker_pb2.ModelConfig(
                model="local/babbler",
                credential="secrets/x",
                needs_actions=True,
                context_tokens_min=160,
                fallbacks=[linker_pb2.Fallback(model="far/off")],
                cache_seconds=60,
                needs_answer_schema=True,
            ),
            account="agents/brief",
        )
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_Refused("PROVIDER_NOT_FOUND"), Code.PROVIDER_NOT_FOUND),
        (_Refused("MODEL_NOT_FOUND"), Code.MODEL_NOT_FOUND),
        (_Refused("MODEL_UNUSABLE"), Code.MODEL_UNUSABLE),
        (_Refused("CREDENTIAL_REFUSED"), Code.CREDENTIAL_REFUSED),
        (_Refused("PRICE_NOT_FOUND"), Code.PRICE_NOT_FOUND),
        (_Refused("PROVIDER_UNAVAILABLE"), Code.PROVIDER_UNAVAILABLE),
        (InvalidField("config.model", "is malformed"), Flaw.INVALID_VALUE),
        (NotImplementedYet("credentials"), Code.NOT_SUPPORTED_YET),
    ],
)
async def test_what_the_linker_refuses_is_a_refusal(
    answering: Answering, peers: Peers, error: ServiceError, code: Code
) -> None:
    answering.answers["LinkModel"] = error

    assert await peers.models.link(WISH) == Refusal(code, str(error))


async def test_a_secret_that_is_described_exists(answering: Answering, peers: Peers) -> None:
    answering.answers["GetSecret"] = keymanager_pb2.GetSecretResponse()

    assert await peers.secrets.exists("secrets/x")


async def test_a_secret_that_is_not_found_does_not_exist(
    answering: Answering, peers: Peers
) -> None:
    answering.answers["GetSecret"] = _Refused("SECRET_NOT_FOUND")

    assert not await peers.secrets.exists("secrets/x")


async def test_collections_have_segments(answering: Answering, peers: Peers) -> None:
    answering.answers["ListCollections"] = knowledge_pb2.ListCollectionsResponse(
        collections=[
            knowledge_pb2.Collection(name="collections/a", segment=knowledge_pb2.SEGMENT_PRIVATE),
            knowledge_pb2.Collection(name="collections/b", segment=knowledge_pb2.SEGMENT_PUBLIC),
        ]
    )

    assert await peers.documents.segments() == {
        "collections/a": "private",
        "collections/b": "public",
    }


async def test_collections_are_read_page_by_page(answering: Answering, peers: Peers) -> None:
    segment = knowledge_pb2.SEGMENT_PUBLIC
    answering.answers["ListCollections"] = [
        knowledge_pb2.ListCollectionsResponse(
            collections=[knowledge_pb2.Collection(name=f"collections/{name}", segment=segment)],
            next_page_token=token,
        )
        for name, token in (("a", "more"), ("b", ""))
    ]

    assert list(await peers.documents.segments()) == ["collections/a", "collections/b"]


async def test_a_document_is_put_whole(answering: Answering, peers: Peers) -> None:
    answering.answers["PutDocument"] = knowledge_pb2.PutDocumentResponse()

    assert await peers.documents.put(DOCUMENT) is None
    assert answering.requests == [
        knowledge_pb2.PutDocumentRequest(
            document=knowledge_pb2.Document(name=DOCUMENT.name, text="text"),
            segment=knowledge_pb2.SEGMENT_PRIVATE,
        )
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_Refused("SEGMENT_MISMATCH"), Code.SEGMENT_MISMATCH),
        (InvalidField("document.text", "is required"), Code.DOCUMENT_INVALID),
    ],
)
async def test_what_knowledge_refuses_is_a_refusal(
    answering: Answering, peers: Peers, error: ServiceError, code: Code
) -> None:
    answering.answers["PutDocument"] = error

    assert await peers.documents.put(DOCUMENT) == Refusal(code, str(error))


async def test_a_quote_names_item_and_meters(answering: Answering, peers: Peers) -> None:
    answering.answers["QuoteGas"] = gas_pb2.QuoteGasResponse(gas=7)

    assert await peers.quotes.quote("model a/b", {"input_tokens": 5}) == 7
    usage = action_pb2.Usage(meter=action_pb2.Usage.METER_INPUT_TOKENS, amount=5)
    assert answering.requests == [gas_pb2.QuoteGasRequest(item="model a/b", usages=[usage])]


async def test_a_missing_price_is_a_refusal(answering: Answering, peers: Peers) -> None:
    answering.answers["QuoteGas"] = _Refused("PRICE_NOT_FOUND")

    assert await peers.quotes.quote("model a/b", {"input_tokens": 5}) == Refusal(
        Code.PRICE_NOT_FOUND, "it is not there"
    )


async def test_a_signature_is_made_for_bundles_only(answering: Answering, peers: Peers) -> None:
    made = action_pb2.Signature(
        key="keys/bundles", algorithm="ed25519", public_key=b"p", value=b"v"
    )
    answering.answers["Sign"] = keymanager_pb2.SignResponse(signature=made)

    assert await peers.signer.sign(SHA256) == Signature("keys/bundles", "ed25519", b"p", b"v")
    assert answering.requests == [
        keymanager_pb2.SignRequest(
            key="keys/bundles",
            purpose=keymanager_pb2.PURPOSE_BUNDLE,
            message=SHA256.encode(),
        )
    ]


async def test_every_peer_that_is_down_is_named(answering: Answering, peers: Peers) -> None:
    for method in (
        "ListActions",
        "LinkModel",
        "GetSecret",
        "ListCollections",
        "PutDocument",
        "QuoteGas",
        "Sign",
    ):
        answering.answers[method] = PeerUnavailable("somebody else")
    named = []
    for call in (
        peers.catalogue.actions(),
        peers.models.link(WISH),
        peers.secrets.exists("secrets/x"),
        peers.documents.segments(),
        peers.documents.put(DOCUMENT),
        peers.quotes.quote("model a/b", {}),
        peers.signer.sign(SHA256),
    ):
        with pytest.raises(PeerUnavailable) as raised:
            await call
        named.append(raised.value.peer)

    assert named == [
        "runtime",
        "linker",
        "keymanager",
        "knowledge",
        "knowledge",
        "gas",
        "keymanager",
    ]


async def test_an_error_that_nobody_expects_is_not_hidden(
    answering: Answering, peers: Peers
) -> None:
    answering.answers["Sign"] = _Refused("SEAL_BROKEN")
    with pytest.raises(aio.AioRpcError):
        await peers.signer.sign(SHA256)
