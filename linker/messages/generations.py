"""Generations in messages: what is ordered, who pays, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2
from actionvm.linker.v1 import linker_pb2
from chassis import fields
from chassis.errors import InvalidField, NotImplementedYet

from ..clients import usages_of
from ..conversation import Action, Choice, FinishReason, Prompt, Sampling
from ..linker import Answer, Order
from ..ports import Caller
from .conversations import calls_to_proto, conversation_from_proto
from .links import link_name

TOKENS_MAX = 32_768
TEMPERATURE_MAX = 2.0
STOPS_MAX = 8
STOP_MAX = 256
# As gas has it, which also knows who may call whom.
CALLERS_MAX = 8


def order_from_proto(request: linker_pb2.GenerateRequest) -> Order:
    """Return what is to be generated, or refuse it."""
    if request.answer_schema:
        raise NotImplementedYet("answer_schema")
    conversation = conversation_from_proto(request.messages, request.actions)
    return Order(
        request_id=fields.require_request_id(request.request_id),
        link=link_name("link", request.link),
        account=_account("account", request.account),
        run=_run("run", request.run),
        callers=_callers_from_proto(request.callers),
        prompt=Prompt(
            conversation=conversation,
            choice=_choice_from_proto(request.action_choice, conversation.actions),
            sampling=_sampling_from_proto(request),
        ),
    )


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


def answer_to_proto(answer: Answer) -> linker_pb2.Finished:
    """Return the end of a generation."""
    return linker_pb2.Finished(
        reason=_REASONS[answer.reason],
        text=answer.text,
        calls=calls_to_proto(answer.calls),
        usages=usages_of(answer.tokens),
        gas=answer.gas,
        model=answer.model,
    )


_REASONS = {
    FinishReason.STOP: linker_pb2.FINISH_REASON_STOP,
    FinishReason.ACTION: linker_pb2.FINISH_REASON_ACTION,
    FinishReason.LENGTH: linker_pb2.FINISH_REASON_LENGTH,
    FinishReason.FILTERED: linker_pb2.FINISH_REASON_FILTERED,
}
