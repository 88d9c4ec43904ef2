"""OpenAI's Responses, its newer way to speak; used without anything that it would keep."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from functools import lru_cache

from openai.types.responses import (
    FunctionToolParam,
    ResponseInputContentParam,
    ResponseInputItemParam,
    ResponseTextConfigParam,
)
from openai.types.responses.response_create_params import ToolChoice

from ..conversation import (
    Action,
    Choice,
    Delta,
    FinishReason,
    Message,
    Prompt,
    Role,
    Tokens,
)
from ..schemas import parse_object
from .events import Post, listen
from .openai_chat import data_url, logprobs_of
from .pieces import ResponsesEnd, ResponsesEvent
from .wire import TOOLS_KNOWN_MAX, Answer, Failure, FailureTold, failure_said, is_strict, to_wire

_STATUS = {"server_error": 500, "rate_limit_exceeded": 429, "vector_store_timeout": 500}


def speak(
    post: Post,
    model: str,
    answer: Answer,
    *,
    samples: bool,
    is_compatible: bool,  # noqa: ARG001  # chat needs it, and both are called alike
) -> AsyncGenerator[Delta, None]:
    """Yield what a model answers to a prompt, into `answer`; it takes no seed and no penalties."""
    if answer.prompt.sampling.stops:
        raise FailureTold(Failure("the Responses interface takes no stops; set api to chat", 400))
    asked = _body(model, answer.prompt, samples=samples)
    return listen(post, "responses", asked, answer, _read)


def _body(model: str, prompt: Prompt, *, samples: bool) -> dict[str, object]:
    sampling, actions = prompt.sampling, prompt.conversation.actions
    body: dict[str, object] = {
        "model": model,
        "input": [item for message in prompt.conversation.messages for item in _items(message)],
        "stream": True,
        "store": False,
        "max_output_tokens": sampling.tokens_max,
    }
    if actions:
        body["tools"] = _tools(actions)
        body["tool_choice"] = _tool_choice(prompt)
        body["parallel_tool_calls"] = prompt.calls_max > 1
    if prompt.answer_schema:
        body["text"] = _format(prompt.answer_schema)
    if samples:
        body["temperature"] = sampling.temperature
        body |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
        if sampling.logprobs:
            body["top_logprobs"] = sampling.logprobs
            body["include"] = ["message.output_text.logprobs"]
    return body


def _read(answer: Answer, said: bytes) -> Iterator[Delta]:
    """Take a piece of the answer."""
    event = ResponsesEvent.model_validate_json(said)
    if event.error:
        raise FailureTold(failure_said(event.error))
    if event.type == "response.output_text.delta":
        answer.logprobs += map(logprobs_of, event.logprobs or ())
        yield answer.add(event.delta)
    elif event.type == "response.refusal.delta":
        answer.reason = FinishReason.FILTERED
        yield answer.add(event.delta)
    elif event.type in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
        yield answer.add("", event.delta)
    elif event.type == "response.output_item.added" and event.item.type == "function_call":
        yield answer.add_call(event.output_index, event.item.name, event.item.arguments or "")
    elif event.type == "response.function_call_arguments.delta":
        yield answer.add_call(event.output_index, None, event.delta)
    elif event.type in ("response.completed", "response.incomplete"):
        _end(answer, event.response)
    elif event.type == "response.failed":
        error = event.response.error
        raise _told(error.code, error.message) if error else _told(None, "it failed")
    elif event.type == "error":
        raise _told(event.code, event.message)


def _told(code: str | None, message: str) -> FailureTold:
    code = code or "server_error"
    return FailureTold(Failure(message, _STATUS.get(code, 400), code))


def _end(answer: Answer, response: ResponsesEnd) -> None:
    cut = response.incomplete_details.reason if response.incomplete_details else None
    if cut is not None:
        is_full = cut == "max_output_tokens"
        answer.reason = FinishReason.LENGTH if is_full else FinishReason.FILTERED
    elif answer.reason is None:
        answer.reason = FinishReason.STOP
    usage = response.usage
    if usage is not None:
        read, written = usage.input_tokens_details, usage.output_tokens_details
        cached = (read and read.cached_tokens) or 0
        kept = (read and read.cache_write_tokens) or 0
        thought = (written and written.reasoning_tokens) or 0
        answer.tokens = Tokens(
            input=max(0, usage.input_tokens - cached - kept),
            output=max(0, usage.output_tokens - thought),
            cached_input=cached,
            cache_write=kept,
            reasoning=thought,
        )


def _items(message: Message) -> Iterator[ResponseInputItemParam]:
    if message.role is Role.ACTION:
        yield {
            "type": "function_call_output",
            "call_id": message.call_id,
            "output": message.text,
        }
    elif message.images:
        parts: list[ResponseInputContentParam] = [{"type": "input_text", "text": message.text}]
        parts += [
            {"type": "input_image", "image_url": data_url(image), "detail": "auto"}
            for image in message.images
        ]
        yield {"type": "message", "role": "user", "content": parts}
    elif message.role is Role.SYSTEM:
        yield {"role": "system", "content": message.text}
    elif message.role is Role.USER:
        yield {"role": "user", "content": message.text}
    else:
        if message.text:
            yield {"role": "assistant", "content": message.text}
        for call in message.calls:
            yield {
                "type": "function_call",
                "call_id": call.id,
                "name": to_wire(call.action),
                "arguments": call.arguments,
            }


@lru_cache(TOOLS_KNOWN_MAX)
def _tools(actions: tuple[Action, ...]) -> list[FunctionToolParam]:
    """Return actions as tools; an agent offers the same ones again and again."""
    return [
        {
            "type": "function",
            "name": to_wire(action.name),
            "description": action.description,
            "parameters": json.loads(action.parameters_schema),
            "strict": is_strict(parse_object(action.parameters_schema)),
        }
        for action in actions
    ]


def _tool_choice(prompt: Prompt) -> ToolChoice:
    if prompt.choice is Choice.REQUIRED and prompt.action:
        return {"type": "function", "name": to_wire(prompt.action)}
    return prompt.choice.value


def _format(schema: str) -> ResponseTextConfigParam:
    return {
        "format": {
            "type": "json_schema",
            "name": "answer",
            "schema": json.loads(schema),
            "strict": True,
        }
    }
