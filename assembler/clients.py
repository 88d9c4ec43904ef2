"""The assembler's ports over gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from actionvm.keymanager.v1 import keymanager_pb2, keymanager_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from actionvm.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from chassis.channel import remote_error, translated
from chassis.problems import Flaw, clip

from .ports import (
    Compiler,
    Document,
    Effect,
    KnownAction,
    Link,
    ModelWish,
    Peers,
    Refusal,
    Segment,
    Signature,
)
from .problems import Code

SIGNING_KEY = "keys/bundles"
# A model that is read from a slow disk for the first time takes its time.
LINK_SECONDS_MAX = 300.0
# Indexing a document of 1 MiB, on a busy machine.
PUT_SECONDS_MAX = 60.0
COLLECTIONS_PAGE = 1_000

_EFFECTS: dict[action_pb2.Action.Effect.ValueType, Effect] = {
    action_pb2.Action.EFFECT_READ: "read",
    action_pb2.Action.EFFECT_WRITE: "write",
}
_SEGMENTS: dict[Segment, knowledge_pb2.Segment.ValueType] = {
    "private": knowledge_pb2.SEGMENT_PRIVATE,
    "public": knowledge_pb2.SEGMENT_PUBLIC,
}
_SEGMENT_NAMES = {number: name for name, number in _SEGMENTS.items()}


def connect_peers(
    *,
    runtime: aio.Channel,
    linker: aio.Channel,
    keymanager: aio.Channel,
    knowledge: aio.Channel,
    gas: aio.Channel,
    compiler: Compiler,
) -> Peers:
    """Return the ports over channels that are open, and a compiler."""
    return Peers(
        catalogue=CatalogueClient(runtime),
        models=ModelsClient(linker),
        secrets=SecretsClient(keymanager),
        documents=DocumentsClient(knowledge),
        quotes=QuotesClient(gas),
        signer=SignerClient(keymanager),
        compiler=compiler,
    )


class CatalogueClient:
    """`Catalogue` of the runtime."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = runtime_pb2_grpc.RuntimeServiceStub(channel)

    async def actions(self) -> Sequence[KnownAction]:
        """Return all actions."""
        with translated("runtime"):
            response = await self._stub.ListActions(runtime_pb2.ListActionsRequest())
        return [_action_from_proto(found) for found in response.actions]


class ModelsClient:
    """`Models` of the linker."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = linker_pb2_grpc.LinkerServiceStub(channel)

    async def link(self, wish: ModelWish) -> Link | Refusal:
        """Link a model."""
        config = linker_pb2.ModelConfig(
            model=wish.model,
            credential=wish.credential,
            needs_actions=wish.needs_actions,
            context_tokens_min=wish.context_tokens_min,
            fallbacks=[
                linker_pb2.Fallback(model=model, credential=credential)
                for model, credential in wish.fallbacks
            ],
            cache_seconds=wish.cache_seconds,
            needs_answer_schema=wish.needs_answer_schema,
        )
        refusals: dict[str, Code | Flaw] = {
            "PROVIDER_NOT_FOUND": Code.PROVIDER_NOT_FOUND,
            "MODEL_NOT_FOUND": Code.MODEL_NOT_FOUND,
            "MODEL_UNUSABLE": Code.MODEL_UNUSABLE,
            "CREDENTIAL_REFUSED": Code.CREDENTIAL_REFUSED,
            "PRICE_NOT_FOUND": Code.PRICE_NOT_FOUND,
            "PROVIDER_UNAVAILABLE": Code.PROVIDER_UNAVAILABLE,
            "INVALID_FIELD": Flaw.INVALID_VALUE,
            "NOT_IMPLEMENTED": Code.NOT_SUPPORTED_YET,
        }
        request = linker_pb2.LinkModelRequest(config=config, account=wish.account)
        with translated("linker"):
            try:
                response = await self._stub.LinkModel(request, timeout=LINK_SECONDS_MAX)
            except aio.AioRpcError as error:
                return _refusal(error, refusals)
        assert response.link.context_tokens > 0, "a model has a context"
        return Link(response.link.context_tokens, response.link.weights_sha256)


class SecretsClient:
    """`Secrets` of the key manager."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = keymanager_pb2_grpc.KeymanagerServiceStub(channel)

    async def exists(self, name: str) -> bool:
        """Return whether there is a secret."""
        with translated("keymanager"):
            try:
                await self._stub.GetSecret(keymanager_pb2.GetSecretRequest(name=name))
            except aio.AioRpcError as error:
                _refusal(error, {"SECRET_NOT_FOUND": Code.SECRET_NOT_FOUND})
                return False
        return True


class DocumentsClient:
    """`Documents` of the knowledge storage."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)

    async def segments(self) -> Mapping[str, Segment]:
        """Return the segments of all collections."""
        segments: dict[str, Segment] = {}
        request = knowledge_pb2.ListCollectionsRequest(page_size=COLLECTIONS_PAGE)
        while True:
            with translated("knowledge"):
                page = await self._stub.ListCollections(request)
            segments |= {found.name: _SEGMENT_NAMES[found.segment] for found in page.collections}
            if not page.next_page_token:
                return segments
            assert page.next_page_token != request.page_token, "a page is not its own next"
            request.page_token = page.next_page_token

    async def put(self, document: Document) -> Refusal | None:
        """Put a document."""
        request = knowledge_pb2.PutDocumentRequest(
            document=knowledge_pb2.Document(name=document.name, text=document.text),
            segment=_SEGMENTS[document.segment],
        )
        refusals: dict[str, Code | Flaw] = {
            "SEGMENT_MISMATCH": Code.SEGMENT_MISMATCH,
            "INVALID_FIELD": Code.DOCUMENT_INVALID,
        }
        with translated("knowledge"):
            try:
                await self._stub.PutDocument(request, timeout=PUT_SECONDS_MAX)
            except aio.AioRpcError as error:
                return _refusal(error, refusals)
        return None


class QuotesClient:
    """`Quotes` of the gas system."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = gas_pb2_grpc.GasServiceStub(channel)

    async def quote(self, item: str, usages: Mapping[str, int]) -> int | Refusal:
        """Quote an item."""
        meters = action_pb2.Usage.Meter
        request = gas_pb2.QuoteGasRequest(
            item=item,
            usages=[
                action_pb2.Usage(meter=meters.Value(f"METER_{meter.upper()}"), amount=amount)
                for meter, amount in usages.items()
            ],
        )
        with translated("gas"):
            try:
                response = await self._stub.QuoteGas(request)
            except aio.AioRpcError as error:
                return _refusal(error, {"PRICE_NOT_FOUND": Code.PRICE_NOT_FOUND})
        return response.gas


class SignerClient:
    """`Signer` of the key manager."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = keymanager_pb2_grpc.KeymanagerServiceStub(channel)

    async def sign(self, sha256: str) -> Signature:
        """Sign the digest of a bundle."""
        request = keymanager_pb2.SignRequest(
            key=SIGNING_KEY, purpose=keymanager_pb2.PURPOSE_BUNDLE, message=sha256.encode()
        )
        with translated("keymanager"):
            response = await self._stub.Sign(request)
        made = response.signature
        assert made.key == SIGNING_KEY, "the key manager signs with the key that was asked for"
        return Signature(made.key, made.algorithm, made.public_key, made.value)


def _refusal(error: aio.AioRpcError, codes: Mapping[str, Code | Flaw]) -> Refusal:
    """Return what a manifest is to blame for; raise everything else again."""
    remote = remote_error(error)
    if remote.reason not in codes:
        raise error
    return Refusal(codes[remote.reason], clip(remote.message, length_max=300))


def _action_from_proto(found: runtime_pb2.CatalogueAction) -> KnownAction:
    action = found.action
    return KnownAction(
        name=action.name,
        program=f"catalogue:{action.name}",
        description=action.description,
        parameters_schema=json.loads(action.parameters_schema),
        effect=_EFFECTS[action.effect],
        needs_credential=found.needs_credential,
        # An action without a schema takes no settings.
        settings_schema=json.loads(found.settings_schema or '{"additionalProperties": false}'),
        output_schema=json.loads(found.output_schema or "{}"),
    )
