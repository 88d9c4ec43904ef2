"""Anthropic's Messages, as a server speaks them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from anthropic.types import MessageTokensCount, ModelInfo, RawMessageStreamEvent
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsStreaming

from linker.conversation import (
    Action,
    Call,
    Choice,
    Conversation,
    FinishReason,
    Image,
    Message,
    Prompt,
    Role,
    Sampling,
)
from linker.providers.wire import from_wire, to_wire
from tests.fakes.actor import Said, words
from tests.fakes.schemas import check_reply, check_request
from tests.fakes.upstream import Fault, Reply, Seen

Body = dict[str, Any]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
# The interface has them, and the package for it has not.
SAMPLING = ("temperature", "top_p", "top_k")
REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.ACTION: "tool_use",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.FILTERED: "refusal",
}
CHOICES = {"auto": Choice.AUTO, "any": Choice.REQUIRED, "tool": Choice.REQUIRED}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
JSON_HEADERS = {"content-type": "application/json"}


class AnthropicMessages:
    """The dialect; `models` are those that it has."""

    def __init__(self, models: Sequence[str] = ("claude-opus-4-6",)) -> None:
        self.models = models

    def is_generation(self, seen: Seen) -> bool:
        return seen.path == "/v1/messages"

    def read(self, seen: Seen) -> Prompt:
        body = seen.json
        assert seen.headers["anthropic-version"]
        check_request(
            MessageCreateParamsStreaming,
            {key: value for key, value in body.items() if key not in SAMPLING},
        )
        choice = body.get("tool_choice", {"type": "none"})
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        return Prompt(
            _read_conversation(body),
            CHOICES.get(choice["type"], Choice.NONE),
            Sampling(
                body["max_tokens"],
                temperature=body.get("temperature", 1.0),
                top_p=body.get("top_p", 1.0),
                top_k=body.get("top_k", 0),
                stops=tuple(body.get("stop_sequences", ())),
            ),
            calls_max=1 if choice.get("disable_parallel_tool_use", True) else 16,
            action=from_wire(choice.get("name", "")),
            answer_schema=json.dumps(schema) if schema else "",
        )

    def say(self, seen: Seen, said: Said) -> Reply:
        lines = []
        for event in _events(seen.json["model"], said):
            check_reply(RawMessageStreamEvent, event)
            lines.append(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return Reply(tuple(lines), headers={"content-type": "text/event-stream"})

    def refuse(self, fault: Fault) -> Reply:
        kind = fault.code or ERROR_TYPES.get(fault.status, "api_error")
        body = {
            "type": "error",
            "error": {"type": kind, "message": fault.text},
            "request_id": "req_1",
        }
        return Reply((json.dumps(body).encode(),), fault.status, JSON_HEADERS)

    def serve(self, seen: Seen) -> Reply:
        if seen.path == "/v1/messages/count_tokens":
            check_request(MessageCountTokensParams, seen.json)
            body = {"input_tokens": len(words(seen.body.decode()))}
            check_reply(MessageTokensCount, body)
            return _reply(body)
        name = unquote(seen.path.partition("/models/")[2])
        if name not in self.models:
            return self.refuse(Fault(404, text=f"model: {name}"))
        body = model_info(name)
        check_reply(ModelInfo, body)
        return _reply(body)


def _read_conversation(body: Body) -> Conversation:
    system = [Message(Role.SYSTEM, body["system"])] if "system" in body else []
    turns = [message for turn in body["messages"] for message in _read_turn(turn)]
    assert all(
        earlier["role"] != later["role"] or earlier["role"] == "user"
        for earlier, later in zip(body["messages"], body["messages"][1:], strict=False)
    )
    actions = []
    for tool in body.get("tools", ()):
        assert TOOL_NAME.fullmatch(tool["name"])
        schema = json.dumps(tool["input_schema"])
        actions.append(Action(from_wire(tool["name"]), tool["description"], schema))
    return Conversation((*system, *turns), tuple(actions))


def _read_turn(turn: Body) -> Iterator[Message]:
    blocks = turn["content"]
    assert blocks, "an empty turn is refused"
    results = [block for block in blocks if block["type"] == "tool_result"]
    for block in results:
        yield Message(Role.ACTION, block["content"], call_id=block["tool_use_id"])
    if results:
        return
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert all(texts), "an empty text is refused"
    yield Message(
        Role(turn["role"]),
        "".join(texts),
        tuple(
            Call(block["id"], from_wire(block["name"]), json.dumps(block["input"]))
            for block in blocks
            if block["type"] == "tool_use"
        ),
        images=tuple(
            Image(block["source"]["media_type"], base64.b64decode(block["source"]["data"]))
            for block in blocks
            if block["type"] == "image"
        ),
    )


def _events(model: str, said: Said) -> Iterator[Body]:
    tokens = said.tokens
    read = {
        "input_tokens": tokens.input,
        "cache_read_input_tokens": tokens.cached_input,
        "cache_creation_input_tokens": tokens.cache_write,
    }
    message: Body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**read, "output_tokens": 1},
    }
    yield {"type": "message_start", "message": message}
    yield from _content(said)
    details = {"thinking_tokens": tokens.reasoning}
    written = {"output_tokens": tokens.output + tokens.reasoning, "output_tokens_details": details}
    end = {"stop_reason": REASONS[said.reason], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": written}
    yield {"type": "message_stop"}


def _content(said: Said) -> Iterator[Body]:
    index = 0
    if said.reasoning:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas: list[Body] = [
            {"type": "thinking_delta", "thinking": word} for word in said.reasoning.split()
        ]
        yield from _block(index, start, [*deltas, {"type": "signature_delta", "signature": "s"}])
        index += 1
    if said.text:
        start = {"type": "text", "text": ""}
        yield from _block(index, start, [{"type": "text_delta", "text": w} for w in said.words])
        index += 1
    for call in said.calls:
        start = {"type": "tool_use", "id": f"toolu_{index}", "name": to_wire(call.action)}
        # Nothing is sent for an empty object.
        arguments = "" if call.arguments == "{}" else call.arguments
        middle = len(arguments) // 2
        pieces = (arguments[:middle], arguments[middle:])
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield from _block(index, {**start, "input": {}}, deltas)
        index += 1


def _block(index: int, start: Body, deltas: list[Body]) -> Iterator[Body]:
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _reply(body: Body) -> Reply:
    return Reply((json.dumps(body).encode(),), headers=JSON_HEADERS)


def model_info(name: str) -> Body:
    """Return what Anthropic tells of a model."""
    yes = {"supported": True}
    ways = dict.fromkeys(("adaptive", "between_tools", "disabled", "enabled"), yes)
    thinking = {"supported": True, "types": ways}
    capabilities = {
        **dict.fromkeys(("batch", "citations", "code_execution", "image_input", "pdf_input"), yes),
        "context_management": {"supported": True},
        "effort": {"supported": True, **dict.fromkeys(("high", "low", "max", "medium"), yes)},
        "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
        "structured_outputs": yes,
        "thinking": thinking,
    }
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-02-04T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": capabilities,
    }
