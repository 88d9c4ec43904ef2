"""Generations in messages: what is ordered, who pays, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2
from actionvm.linker.v1 import linker_pb2
from chassis import fields
from chassis.errors import InvalidField

from ..clients import usages_of
from ..conversation import Action, Choice, Delta, FinishReason, Logprobs, Prompt, Sampling
from ..orders import Answer, Order, Payer
from ..ports import Caller
from ..schemas import Malformed, parse_answer_schema
from .conversations import (
    CALLS_MAX,
    SCHEMA_BYTES_MAX,
    calls_to_proto,
    conversation_from_proto,
)
from .links import link_name

TOKENS_MAX = 32_768
TEMPERATURE_MAX = 2.0
STOPS_MAX = 8
STOP_MAX = 256
TOP_K_MAX = 1_000
PENALTY_MAX = 2.0
LOGPROBS_MAX = 20
# As gas has it, which also knows who may call whom.
CALLERS_MAX = 8


def order_from_proto(request: linker_pb2.GenerateRequest) -> Order:
    """Return what is to be generated, or refuse it."""
    conversation = conversation_from_proto(request.messages, request.actions)
    choice = _choice_from_proto(request.action_choice, conversation.actions)
    return Order(
        link=link_name("link", request.link),
        payer=payer_from_proto(request),
        prompt=Prompt(
            conversation=conversation,
            choice=choice,
            sampling=_sampling_from_proto(request),
            calls_max=_calls_max_from_proto(request),
            action=_action_from_proto(request.action, choice, conversation.actions),
            answer_schema=_answer_schema_from_proto(request.answer_schema, choice),
        ),
    )


def payer_from_proto(
    request: linker_pb2.GenerateRequest | linker_pb2.EmbedRequest | linker_pb2.RerankRequest,
) -> Payer:
    """Return who pays for a request, or refuse it."""
    return Payer(
        request_id=fields.require_request_id(request.request_id),
        account=_account("account", request.account),
        run=_run("run", request.run),
        callers=_callers_from_proto(request.callers),
    )


def _calls_max_from_proto(request: linker_pb2.GenerateRequest) -> int:
    fields.require_range("calls_max", request.calls_max, least=0, most=CALLS_MAX)
    if request.calls_max and not request.actions:
        raise InvalidField("calls_max", "is for actions, but none is on offer")
    return request.calls_max or 1


def _action_from_proto(name: str, choice: Choice, actions: Sequence[Action]) -> str:
    if name and choice is not Choice.REQUIRED:
        raise InvalidField("action", "is for ACTION_CHOICE_REQUIRED only")
    if name and name not in {action.name for action in actions}:
        raise InvalidField("action", "is not on offer")
    return name


def _answer_schema_from_proto(schema: str, choice: Choice) -> str:
    if not schema:
        return ""
    if choice is Choice.REQUIRED:
        raise InvalidField("answer_schema", "leaves no room for an action that is required")
    fields.require_size("answer_schema", schema.encode(), size_max=SCHEMA_BYTES_MAX)
    try:
        parse_answer_schema(schema)
    except Malformed as error:
        raise InvalidField("answer_schema", f"{error}") from error
    return schema


def _callers_from_proto(callers: Sequence[action_pb2.Caller]) -> tuple[Caller, ...]:
    fields.require_size("callers", callers, size_min=0, size_max=CALLERS_MAX)
    return tuple(
        Caller(
            _account(f"callers[{index}].account", caller.account),
            _run(f"callers[{index}].run", caller.run),
        )
        for index, caller in enumerate(callers)
    )


def _account(field: str, value: str) -> str:
    return fields.require_match(field, value, fields.ACCOUNT_NAME, example="agents/market-brief")


def _run(field: str, value: str) -> str:
    return fields.require_match(field, value, fields.RUN_NAME, example="runs/<uuid>")


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
    fields.require_range("min_p", request.min_p, least=0, most=1)
    fields.require_range("top_k", request.top_k, least=0, most=TOP_K_MAX)
    for name in ("frequency_penalty", "presence_penalty"):
        fields.require_range(name, getattr(request, name), least=-PENALTY_MAX, most=PENALTY_MAX)
    fields.require_range("logprobs", request.logprobs, least=0, most=LOGPROBS_MAX)
    fields.require_size("stops", request.stops, size_min=0, size_max=STOPS_MAX)
    for index, stop in enumerate(request.stops):
        fields.require_size(f"stops[{index}]", stop, size_max=STOP_MAX)
    return Sampling(
        tokens_max=request.tokens_max,
        temperature=request.temperature,
        top_p=request.top_p or 1.0,
        seed=request.seed,
        stops=tuple(request.stops),
        min_p=request.min_p,
        top_k=request.top_k,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logprobs=request.logprobs,
    )


def answer_to_proto(answer: Answer) -> linker_pb2.Finished:
    """Return the end of a generation."""
    return linker_pb2.Finished(
        reason=_REASONS[answer.reason],
        text=answer.text,
        calls=calls_to_proto(answer.calls),
        usages=usages_of(answer.tokens),
        gas=answer.gas,
        model=answer.model,
        logprobs=map(_logprobs_to_proto, answer.logprobs),
        reasoning=answer.reasoning,
        cached=answer.is_cached,
    )


def _logprobs_to_proto(place: Logprobs) -> linker_pb2.Logprobs:
    chosen, *likeliest = (
        linker_pb2.TokenLogprob(text=token.text, logprob=token.logprob)
        for token in (place.chosen, *place.likeliest)
    )
    return linker_pb2.Logprobs(chosen=chosen, likeliest=likeliest)


def delta_to_proto(delta: Delta) -> list[linker_pb2.GenerateResponse]:
    """Return what can be seen of a step, which may be nothing."""
    responses = []
    if delta.reasoning:
        responses.append(linker_pb2.GenerateResponse(reasoning_delta=delta.reasoning))
    if delta.text:
        responses.append(linker_pb2.GenerateResponse(text_delta=delta.text))
    return responses


_REASONS = {
    FinishReason.STOP: linker_pb2.FINISH_REASON_STOP,
    FinishReason.ACTION: linker_pb2.FINISH_REASON_ACTION,
    FinishReason.LENGTH: linker_pb2.FINISH_REASON_LENGTH,
    FinishReason.FILTERED: linker_pb2.FINISH_REASON_FILTERED,
}
