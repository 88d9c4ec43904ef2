"""The contract of the linker over gRPC: parse, ask the domain, build the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.linker.v1 import linker_pb2, linker_pb2_grpc
from chassis import fields
from chassis.errors import InvalidField, NotImplementedYet
from chassis.identity import OPERATOR
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from .clients import usages_of
from .conversation import (
    Action,
    Call,
    Choice,
    Conversation,
    Delta,
    FinishReason,
    Message,
    Prompt,
    Role,
    Sampling,
)
from .linker import Answer, Linker, Order
from .links import Link, ListedModel, ModelConfig
from .progress import stream
from .providers.shelf import Shelf
from .schemas import Malformed, parse_json, parse_object, parse_schema
from .sources import parse_local_model, parse_path, parse_source

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = linker_pb2.DESCRIPTOR.services_by_name["LinkerService"]

MODEL_BYTES_MAX = 128
CONTEXT_TOKENS_MAX = 2**31 - 1
MESSAGES_MAX = 1_000
TEXT_BYTES_MAX = 1024 * 1024
CONVERSATION_BYTES_MAX = 4 * TEXT_BYTES_MAX
CALLS_MAX = 16
CALL_ID_MAX = 128
ACTIONS_MAX = 64
DESCRIPTION_MAX = 1_024
SCHEMA_BYTES_MAX = 16 * 1024
TOKENS_MAX = 32_768
TEMPERATURE_MAX = 2.0
STOPS_MAX = 8
STOP_MAX = 256

# Without `*`, which is a wildcard in the price table of gas.
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}/[!-)+-~]+")
_LINK_NAME = re.compile(r"links/[0-9a-f]{32}")
_ACTION_NAME = re.compile(r"[a-z0-9_.-]{1,64}")

_OPERATOR = frozenset({OPERATOR})
_LINKERS = frozenset({"assembler", "runtime", OPERATOR})

CALLERS = {
    "LinkModel": _LINKERS,
    "GetLink": _LINKERS,
    "ListModels": _LINKERS,
    "AddModel": _OPERATOR,
    "PullModel": _OPERATOR,
    "RemoveModel": _OPERATOR,
    "Generate": frozenset({"runtime", OPERATOR}),
    "CountTokens": _LINKERS,
    "ListLinks": _OPERATOR,
    "UnlinkModel": _OPERATOR,
    "Embed": _OPERATOR,
    "Rerank": _OPERATOR,
}


def hosted(servicer: LinkerService) -> Hosted:
    """Return the service with its authorisation table."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: linker_pb2_grpc.add_LinkerServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


@refusing_the_rest(DESCRIPTOR)
class LinkerService:
    """Answers from one linker and the shelf of its models."""

    def __init__(self, linker: Linker, shelf: Shelf) -> None:
        self._linker = linker
        self._shelf = shelf

    async def LinkModel(
        self, request: linker_pb2.LinkModelRequest, context: Context
    ) -> linker_pb2.LinkModelResponse:
        link = await self._linker.link(_config_from_proto(request.config))
        return linker_pb2.LinkModelResponse(link=self._link_to_proto(link))

    async def GetLink(
        self, request: linker_pb2.GetLinkRequest, context: Context
    ) -> linker_pb2.GetLinkResponse:
        link = await self._linker.find(_link("name", request.name))
        return linker_pb2.GetLinkResponse(link=self._link_to_proto(link))

    async def ListModels(
        self, request: linker_pb2.ListModelsRequest, context: Context
    ) -> linker_pb2.ListModelsResponse:
        limit = fields.page_limit(request.page_size)
        (after,) = fields.page_start(request.page_token) or ("",)
        models = [model for model in await self._linker.models() if model.name > after]
        page = models[:limit]
        return linker_pb2.ListModelsResponse(
            models=map(_model_to_proto, page),
            next_page_token=fields.page_token(page[-1].name) if len(models) > limit else "",
        )

    async def AddModel(
        self, request: linker_pb2.AddModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.AddModelResponse]:
        name, path = parse_local_model(request.model), parse_path(request.path)
        async with aclosing(stream(partial(self._shelf.add, name, path))) as steps:
            async for step in steps:
                yield linker_pb2.AddModelResponse(**vars(step))

    async def PullModel(
        self, request: linker_pb2.PullModelRequest, context: Context
    ) -> AsyncIterator[linker_pb2.PullModelResponse]:
        name = parse_local_model(request.model)
        source = parse_source(
            repository=request.repository,
            file=request.file,
            revision=request.revision,
            sha256=request.sha256,
        )
        async with aclosing(stream(partial(self._shelf.pull, name, source))) as steps:
            async for step in steps:
                yield linker_pb2.PullModelResponse(**vars(step))

    async def RemoveModel(
        self, request: linker_pb2.RemoveModelRequest, context: Context
    ) -> linker_pb2.RemoveModelResponse:
        await asyncio.to_thread(self._shelf.remove, parse_local_model(request.model))
        return linker_pb2.RemoveModelResponse()

    async def Generate(
        self, request: linker_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[linker_pb2.GenerateResponse]:
        # 64 schemas take seconds to check; meanwhile others are served.
        order = await asyncio.to_thread(_order_from_proto, request)
        async with aclosing(self._linker.generate(order)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    yield linker_pb2.GenerateResponse(text_delta=event.text)
                else:
                    yield linker_pb2.GenerateResponse(finished=_answer_to_proto(event))

    async def CountTokens(
        self, request: linker_pb2.CountTokensRequest, context: Context
    ) -> linker_pb2.CountTokensResponse:
        link = _link("link", request.link)
        conversation = await asyncio.to_thread(
            _conversation_from_proto, request.messages, request.actions
        )
        count = await self._linker.count_tokens(link, conversation)
        return linker_pb2.CountTokensResponse(token_count=count)

    def _link_to_proto(self, link: Link) -> linker_pb2.Link:
        create_time = Timestamp()
        create_time.FromDatetime(link.create_time)
        health = linker_pb2.Link.HEALTH_READY
        if self._linker.is_failing(link):
            health = linker_pb2.Link.HEALTH_FAILING
        return linker_pb2.Link(
            name=link.name,
            model=link.config.model,
            context_tokens=link.facts.context_tokens,
            takes_actions=link.facts.takes_actions,
            constrains_output=link.facts.constrains_output,
            health=health,
            weights_sha256=link.facts.weights_sha256,
            create_time=create_time,
        )


def _model_to_proto(model: ListedModel) -> linker_pb2.Model:
    return linker_pb2.Model(
        name=model.name,
        size_bytes=model.size_bytes,
        loaded=model.is_loaded,
        problem=model.problem,
        **vars(model.facts),
    )


def _link(field: str, value: str) -> str:
    return fields.require_match(field, value, _LINK_NAME, example=f"links/{'0' * 32}")


def _config_from_proto(config: linker_pb2.ModelConfig) -> ModelConfig:
    fields.require_size("config.model", config.model, size_max=MODEL_BYTES_MAX)
    fields.require_match("config.model", config.model, _MODEL_NAME, example="local/babbler")
    if config.credential:
        fields.require_match(
            "config.credential",
            config.credential,
            fields.SECRET_NAME,
            example="secrets/model-key",
        )
    fields.require_range(
        "config.context_tokens_min",
        config.context_tokens_min,
        least=0,
        most=CONTEXT_TOKENS_MAX,
    )
    return ModelConfig(
        model=config.model,
        credential=config.credential,
        needs_actions=config.needs_actions,
        context_tokens_min=config.context_tokens_min,
    )


def _order_from_proto(request: linker_pb2.GenerateRequest) -> Order:
    if request.answer_schema:
        raise NotImplementedYet("answer_schema")
    conversation = _conversation_from_proto(request.messages, request.actions)
    return Order(
        request_id=fields.require_request_id(request.request_id),
        link=_link("link", request.link),
        account=fields.require_match(
            "account", request.account, fields.ACCOUNT_NAME, example="agents/market-brief"
        ),
        run=fields.require_match("run", request.run, fields.RUN_NAME, example="runs/<uuid>"),
        prompt=Prompt(
            conversation=conversation,
            choice=_choice_from_proto(request.action_choice, conversation.actions),
            sampling=_sampling_from_proto(request),
        ),
    )


def _choice_from_proto(choice: int, actions: Sequence[Action]) -> Choice:
    if choice not in _CHOICES:
        raise InvalidField("action_choice", "is unknown")
    if actions and choice == linker_pb2.ACTION_CHOICE_UNSPECIFIED:
        raise InvalidField("action_choice", "is required where actions are on offer")
    if not actions and choice == linker_pb2.ACTION_CHOICE_REQUIRED:
        raise InvalidField("action_choice", "requires an action, but none is on offer")
    return _CHOICES[choice]


_CHOICES: dict[int, Choice] = {
    linker_pb2.ACTION_CHOICE_UNSPECIFIED: Choice.NONE,
    linker_pb2.ACTION_CHOICE_AUTO: Choice.AUTO,
    linker_pb2.ACTION_CHOICE_REQUIRED: Choice.REQUIRED,
    linker_pb2.ACTION_CHOICE_NONE: Choice.NONE,
}


def _sampling_from_proto(request: linker_pb2.GenerateRequest) -> Sampling:
    fields.require_range("tokens_max", request.tokens_max, least=1, most=TOKENS_MAX)
    fields.require_range("temperature", request.temperature, least=0, most=TEMPERATURE_MAX)
    fields.require_range("top_p", request.top_p, least=0, most=1)
    fields.require_size("stops", request.stops, size_min=0, size_max=STOPS_MAX)
    for index, stop in enumerate(request.stops):
        fields.require_size(f"stops[{index}]", stop, size_max=STOP_MAX)
    return Sampling(
        tokens_max=request.tokens_max,
        temperature=request.temperature,
        top_p=request.top_p or 1.0,
        seed=request.seed,
        stops=tuple(request.stops),
    )


def _conversation_from_proto(
    messages: Sequence[linker_pb2.Message], actions: Sequence[action_pb2.Action]
) -> Conversation:
    fields.require_size("messages", messages, size_max=MESSAGES_MAX)
    size = sum(message.ByteSize() for message in messages)
    if size > CONVERSATION_BYTES_MAX:
        problem = f"have {size} bytes together; at most {CONVERSATION_BYTES_MAX} are allowed"
        raise InvalidField("messages", problem)
    called: set[str] = set()
    parsed = []
    for index, message in enumerate(messages):
        field = f"messages[{index}]"
        parsed.append(_message_from_proto(field, message))
        if message.call_id and message.call_id not in called:
            raise InvalidField(f"{field}.call_id", "is of no call in an earlier message")
        called.update(call.id for call in message.calls)
    return Conversation(tuple(parsed), _actions_from_proto(actions))


def _message_from_proto(field: str, message: linker_pb2.Message) -> Message:
    if message.role not in _ROLES:
        raise InvalidField(f"{field}.role", "is required, such as ROLE_USER")
    role = _ROLES[message.role]
    if len(message.text.encode()) > TEXT_BYTES_MAX:
        raise InvalidField(f"{field}.text", f"has more than {TEXT_BYTES_MAX} bytes")
    if message.calls and role is not Role.ASSISTANT:
        raise InvalidField(f"{field}.calls", "are for ROLE_ASSISTANT only")
    fields.require_size(f"{field}.calls", message.calls, size_min=0, size_max=CALLS_MAX)
    if role is Role.ACTION:
        fields.require_size(f"{field}.call_id", message.call_id, size_max=CALL_ID_MAX)
        try:
            parse_json(message.text)
        except Malformed as error:
            raise InvalidField(f"{field}.text", f"{error}") from error
    elif message.call_id:
        raise InvalidField(f"{field}.call_id", "is for ROLE_ACTION only")
    calls = (
        _call_from_proto(f"{field}.calls[{index}]", call)
        for index, call in enumerate(message.calls)
    )
    return Message(role, message.text, tuple(calls), message.call_id)


_ROLES: dict[int, Role] = {
    linker_pb2.Message.ROLE_SYSTEM: Role.SYSTEM,
    linker_pb2.Message.ROLE_USER: Role.USER,
    linker_pb2.Message.ROLE_ASSISTANT: Role.ASSISTANT,
    linker_pb2.Message.ROLE_ACTION: Role.ACTION,
}


def _call_from_proto(field: str, call: action_pb2.ActionCall) -> Call:
    fields.require_size(f"{field}.id", call.id, size_max=CALL_ID_MAX)
    fields.require_match(f"{field}.action", call.action, _ACTION_NAME, example="board.post")
    try:
        parse_object(call.arguments)
    except Malformed as error:
        raise InvalidField(f"{field}.arguments", f"{error}") from error
    return Call(call.id, call.action, call.arguments)


def _actions_from_proto(actions: Sequence[action_pb2.Action]) -> tuple[Action, ...]:
    fields.require_size("actions", actions, size_min=0, size_max=ACTIONS_MAX)
    parsed = tuple(
        _action_from_proto(f"actions[{index}]", action) for index, action in enumerate(actions)
    )
    names = [action.name for action in parsed]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidField(f"actions[{index}].name", "came before; names are unique")
    return parsed


def _action_from_proto(field: str, action: action_pb2.Action) -> Action:
    fields.require_match(f"{field}.name", action.name, _ACTION_NAME, example="board.post")
    fields.require_size(f"{field}.description", action.description, size_max=DESCRIPTION_MAX)
    schema = action.parameters_schema
    fields.require_size(f"{field}.parameters_schema", schema.encode(), size_max=SCHEMA_BYTES_MAX)
    if action.effect not in (action_pb2.Action.EFFECT_READ, action_pb2.Action.EFFECT_WRITE):
        raise InvalidField(f"{field}.effect", "is required, such as EFFECT_READ")
    try:
        parse_schema(schema)
    except Malformed as error:
        raise InvalidField(f"{field}.parameters_schema", f"{error}") from error
    return Action(action.name, action.description, schema)


def _answer_to_proto(answer: Answer) -> linker_pb2.Finished:
    return linker_pb2.Finished(
        reason=_REASONS[answer.reason],
        text=answer.text,
        calls=_calls_to_proto(answer.calls),
        usages=usages_of(answer.tokens),
        gas=answer.gas,
        model=answer.model,
    )


def _calls_to_proto(calls: Iterable[Call]) -> list[action_pb2.ActionCall]:
    return [
        action_pb2.ActionCall(id=call.id, action=call.action, arguments=call.arguments)
        for call in calls
    ]


_REASONS = {
    FinishReason.STOP: linker_pb2.FINISH_REASON_STOP,
    FinishReason.ACTION: linker_pb2.FINISH_REASON_ACTION,
    FinishReason.LENGTH: linker_pb2.FINISH_REASON_LENGTH,
}
