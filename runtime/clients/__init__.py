"""The ports of the runtime over gRPC: deadlines, and remote errors as our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.assembler.v1 import assembler_pb2, assembler_pb2_grpc
from actionvm.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from chassis.errors import PeerUnavailable

from ..bundles import SealedBundle
from ..conversation import ActionChoice, Message, Role
from ..errors import BundleNotFound
from ..facts import ActionCall, Passage
from ..jsontext import write_json
from ..ports import AnswerUnfit, Generation, Prompt
from ..program import ProgramAction
from .refusals import Known, until_answered, within_run
from .values import callers_to_proto, signature_of, usages_of

# A model may have to be loaded first.
LINK_SECONDS_MAX = 60.0
LINKS_MAX = 1_000

_ROLES = {
    Role.SYSTEM: linker_pb2.Message.ROLE_SYSTEM,
    Role.USER: linker_pb2.Message.ROLE_USER,
    Role.ASSISTANT: linker_pb2.Message.ROLE_ASSISTANT,
    Role.ACTION: linker_pb2.Message.ROLE_ACTION,
}
_CHOICES = {
    ActionChoice.AUTO: linker_pb2.ACTION_CHOICE_AUTO,
    ActionChoice.REQUIRED: linker_pb2.ACTION_CHOICE_REQUIRED,
    ActionChoice.NONE: linker_pb2.ACTION_CHOICE_NONE,
}
_EFFECTS = {"read": action_pb2.Action.EFFECT_READ, "write": action_pb2.Action.EFFECT_WRITE}


class AssemblerClient:
    """`Bundles` over a channel to the assembler."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = assembler_pb2_grpc.AssemblerServiceStub(channel)

    async def get(self, name: str) -> SealedBundle:
        """Return a bundle, unchecked; see `Bundles`."""
        with until_answered("assembler", {"BUNDLE_NOT_FOUND": lambda _: BundleNotFound(name)}):
            response = await self._stub.GetBundle(assembler_pb2.GetBundleRequest(name=name))
        return sealed_bundle(response.bundle)


def sealed_bundle(bundle: action_pb2.Bundle) -> SealedBundle:
    """Return a bundle of the contract, unchecked."""
    return SealedBundle(
        name=bundle.name,
        sha256=bundle.digest.sha256,
        size_bytes=bundle.digest.size_bytes,
        payload=bundle.payload,
        signature=signature_of(bundle.signature),
    )


class LinkerClient:
    """`Model` over a channel to the linker. Links are made when first needed, and kept."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = linker_pb2_grpc.LinkerServiceStub(channel)
        self._links: dict[bytes, str] = {}

    async def generate(self, prompt: Prompt) -> AsyncGenerator[str | Generation, None]:
        """Yield text, then the whole answer; a link that the linker has lost is made again."""
        try:
            async with aclosing(self._generate(prompt, await self._link(prompt))) as answer:
                async for part in answer:
                    yield part
        except _LinkNotFound:
            self._links.clear()
            async with aclosing(self._generate(prompt, await self._link(prompt))) as answer:
                async for part in answer:
                    yield part

    async def _link(self, prompt: Prompt) -> str:
        config = linker_pb2.ModelConfig(
            model=prompt.model.name,
            credential=prompt.model.credential,
            needs_actions=prompt.agent_acts,
            context_tokens_min=prompt.model.context_tokens,
            fallbacks=[
                linker_pb2.Fallback(model=fallback.name, credential=fallback.credential)
                for fallback in prompt.model.fallbacks
            ],
            cache_seconds=prompt.model.cache_seconds,
            needs_answer_schema=bool(prompt.answer_schema),
        )
        request = linker_pb2.LinkModelRequest(config=config, account=prompt.account)
        key = request.SerializeToString(deterministic=True)
        if key not in self._links:
            with within_run("linker", "MODEL_FAILED"):
                response = await self._stub.LinkModel(request, timeout=LINK_SECONDS_MAX)
            if len(self._links) >= LINKS_MAX:
                self._links.clear()
            self._links[key] = response.link.name
        return self._links[key]

    async def _generate(self, prompt: Prompt, link: str) -> AsyncGenerator[str | Generation, None]:
        known: Known = {
            "LINK_NOT_FOUND": lambda _: _LinkNotFound("linker"),
            "QUEUE_FULL": lambda _: PeerUnavailable("linker"),
            "RATE_LIMITED": lambda _: PeerUnavailable("linker"),
        }
        if prompt.answer_schema:
            known = {**known, "SCHEMA_UNSUPPORTED": lambda _: AnswerUnfit()}
        call = self._stub.Generate(_generate_request(prompt, link))
        try:
            with within_run("linker", "MODEL_FAILED", known):
                async for response in call:
                    if response.WhichOneof("event") == "finished":
                        yield _generation(response.finished)
                        return
                    if response.text_delta:
                        yield response.text_delta
        finally:
            call.cancel()


class _LinkNotFound(PeerUnavailable):
    """The linker has forgotten a link; for anybody else it is a linker to be asked again."""


def _generate_request(prompt: Prompt, link: str) -> linker_pb2.GenerateRequest:
    return linker_pb2.GenerateRequest(
        request_id=prompt.request_id,
        link=link,
        account=prompt.account,
        run=prompt.run,
        callers=callers_to_proto(prompt.callers),
        messages=[_message_to_proto(message) for message in prompt.messages],
        actions=[_action_to_proto(action) for action in prompt.actions],
        action_choice=_CHOICES[prompt.choice],
        answer_schema=prompt.answer_schema,
        tokens_max=prompt.model.tokens_max,
        temperature=prompt.model.temperature,
        top_p=prompt.model.top_p,
        seed=prompt.model.seed,
    )


def _message_to_proto(message: Message) -> linker_pb2.Message:
    calls = [
        action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)
        for call in message.calls
    ]
    return linker_pb2.Message(
        role=_ROLES[message.role], text=message.text, calls=calls, call_id=message.call_id
    )


def _action_to_proto(action: ProgramAction) -> action_pb2.Action:
    return action_pb2.Action(
        name=action.name,
        description=action.description,
        parameters_schema=write_json(action.parameters_schema),
        effect=_EFFECTS[action.effect],
    )


def _generation(finished: linker_pb2.Finished) -> Generation:
    return Generation(
        text=finished.text,
        calls=tuple(ActionCall(call.id, call.action, call.arguments) for call in finished.calls),
        usages=usages_of(finished.usages),
        gas=finished.gas,
    )


class KnowledgeClient:
    """`Knowledge` over a channel to knowledge storage."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)

    async def search(
        self, collections: Sequence[str], query: str, passages_max: int
    ) -> tuple[Passage, ...]:
        """Return the passages that fit best; see `Knowledge`."""
        request = knowledge_pb2.SearchKnowledgeRequest(
            collections=collections, query=query, passages_max=passages_max
        )
        with within_run("knowledge", "KNOWLEDGE_FAILED"):
            response = await self._stub.SearchKnowledge(request)
        return tuple(Passage(found.document, found.text) for found in response.passages)
