"""OpenAI's Responses, as a server speaks them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from linker.conversation import (
    Call,
    Conversation,
    FinishReason,
    Message,
    Prompt,
    Role,
    Sampling,
)
from linker.providers.wire import from_wire, to_wire
from tests.fakes.actor import Said
from tests.fakes.openai_chat import (
    EVENTS_HEADERS,
    Body,
    OpenAiChat,
    read_action,
    read_choice,
    read_image,
)
from tests.fakes.schemas import check_reply, check_request
from tests.fakes.upstream import Reply, Seen


class OpenAiResponses(OpenAiChat):
    """The dialect; models and errors are those of the other one."""

    path = "/responses"

    def read(self, seen: Seen) -> Prompt:
        body = seen.json
        check_request(ResponseCreateParamsStreaming, body)
        assert body["store"] is False, "nothing is kept with the provider"
        choice, action = read_choice(body.get("tool_choice", "none"))
        schema = body.get("text", {}).get("format", {}).get("schema")
        tools = body.get("tools", [])
        return Prompt(
            Conversation(_read_items(body["input"]), tuple(read_action(tool) for tool in tools)),
            choice,
            Sampling(
                body["max_output_tokens"],
                temperature=body.get("temperature", 1.0),
                top_p=body.get("top_p", 1.0),
                logprobs=body.get("top_logprobs", 0),
            ),
            calls_max=16 if body.get("parallel_tool_calls", bool(tools)) else 1,
            action=action,
            answer_schema=json.dumps(schema) if schema else "",
        )

    def say(self, seen: Seen, said: Said) -> Reply:
        lines = []
        for number, event in enumerate(_events(seen.json["model"], said)):
            whole = {**event, "sequence_number": number}
            check_reply(ResponseStreamEvent, whole)
            lines.append(f"event: {event['type']}\ndata: {json.dumps(whole)}\n\n".encode())
        return Reply(tuple(lines), headers=EVENTS_HEADERS)


def _read_items(items: list[Body]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            messages.append(Message(Role.ACTION, item["output"], call_id=item["call_id"]))
        elif kind == "function_call":
            # Calls are turns of their own here, and part of one to us.
            if not messages or messages[-1].role is not Role.ASSISTANT:
                messages.append(Message(Role.ASSISTANT, ""))
            call = Call(item["call_id"], from_wire(item["name"]), item["arguments"])
            messages[-1] = replace(messages[-1], calls=(*messages[-1].calls, call))
        else:
            messages.append(_read_message(item))
    return tuple(messages)


def _read_message(item: Body) -> Message:
    content = item["content"]
    whole = [{"type": "input_text", "text": content}]
    parts: list[Body] = whole if isinstance(content, str) else content
    return Message(
        Role(item["role"]),
        "".join(part["text"] for part in parts if part["type"] == "input_text"),
        images=tuple(read_image(p["image_url"]) for p in parts if p["type"] == "input_image"),
    )


def _events(model: str, said: Said) -> Iterator[Body]:
    yield {"type": "response.created", "response": _response(model, "in_progress")}
    place = 0
    for word in said.reasoning.split():
        at = {"item_id": "rs_1", "output_index": place, "summary_index": 0}
        yield {"type": "response.reasoning_summary_text.delta", "delta": word, **at}
    place += bool(said.reasoning)
    refuses = said.reason is FinishReason.FILTERED
    kind = "response.refusal.delta" if refuses else "response.output_text.delta"
    for word in said.words:
        at = {"item_id": "msg_1", "output_index": place, "content_index": 0}
        yield {"type": kind, "delta": word, **at, **({} if refuses else {"logprobs": []})}
    place += bool(said.text)
    for index, call in enumerate(said.calls, start=place):
        at = {"item_id": f"fc_{index}", "output_index": index}
        item = {
            "type": "function_call",
            "id": f"fc_{index}",
            "call_id": f"call_{index}",
            "name": to_wire(call.action),
            "arguments": "",
            "status": "in_progress",
        }
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        middle = len(call.arguments) // 2
        for piece in (call.arguments[:middle], call.arguments[middle:]):
            yield {"type": "response.function_call_arguments.delta", "delta": piece, **at}
    is_cut = said.reason is FinishReason.LENGTH
    status = "incomplete" if is_cut else "completed"
    response = _response(model, status)
    response["incomplete_details"] = {"reason": "max_output_tokens"} if is_cut else None
    response["usage"] = _usage(said)
    yield {"type": f"response.{status}", "response": response}


def _usage(said: Said) -> Body:
    tokens = said.tokens
    written = tokens.output + tokens.reasoning
    return {
        "input_tokens": tokens.read,
        "input_tokens_details": {
            "cached_tokens": tokens.cached_input,
            "cache_write_tokens": tokens.cache_write,
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.read + written,
    }


def _response(model: str, status: str) -> Body:
    response: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1.0,
        "model": model,
        "status": status,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
    }
    check_reply(Response, response)
    return response
