"""OpenAI's chat completions, models and embeddings, as a server speaks them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams, Model
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

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
    Tokens,
)
from linker.providers.wire import from_wire, to_wire
from tests.fakes.actor import Said
from tests.fakes.schemas import check_reply, check_request
from tests.fakes.upstream import Fault, Reply, Seen

Body = dict[str, Any]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# Beyond OpenAI's own; vLLM, SGLang, Ollama and llama-server take them.
COMPATIBLE = ("top_k", "min_p")
REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.ACTION: "tool_calls",
    FinishReason.LENGTH: "length",
    FinishReason.FILTERED: "content_filter",
}
ROLES = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT, "tool": Role.ACTION}
JSON_HEADERS = {"content-type": "application/json"}
EVENTS_HEADERS = {"content-type": "text/event-stream"}


class OpenAiChat:
    """The dialect; `models` are those that it has."""

    path = "/chat/completions"

    def __init__(self, models: Sequence[str] = ("gpt-4o",), dimensions: int = 1_536) -> None:
        self.models = models
        self.dimensions = dimensions
        self.context_tokens = 0

    def is_generation(self, seen: Seen) -> bool:
        return seen.path.endswith(self.path)

    def read(self, seen: Seen) -> Prompt:
        body = seen.json
        check_request(
            CompletionCreateParamsStreaming,
            {key: value for key, value in body.items() if key not in COMPATIBLE},
        )
        assert body["stream_options"] == {"include_usage": True}, "usage is always asked for"
        choice, action = read_choice(body.get("tool_choice", "none"))
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        functions = [tool["function"] for tool in body.get("tools", [])]
        return Prompt(
            Conversation(
                tuple(read_message(message) for message in body["messages"]),
                tuple(read_action(function) for function in functions),
            ),
            choice,
            read_sampling(body),
            calls_max=16 if body.get("parallel_tool_calls", bool(functions)) else 1,
            action=action,
            answer_schema=json.dumps(schema) if schema else "",
        )

    def say(self, seen: Seen, said: Said) -> Reply:
        chunks = [self._chunk(seen.json["model"], *part) for part in _parts(said)]
        lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        return Reply((*lines, b"data: [DONE]\n\n"), headers=EVENTS_HEADERS)

    def refuse(self, fault: Fault) -> Reply:
        error = {"message": fault.text, "type": "error", "param": None, "code": fault.code or None}
        body = json.dumps({"error": error}).encode()
        return Reply((body,), fault.status, JSON_HEADERS)

    def serve(self, seen: Seen) -> Reply:
        if seen.path.endswith("/embeddings"):
            return self._embed(seen)
        if seen.path.endswith("/models"):
            models = [self._model(name) for name in self.models]
            return _reply({"object": "list", "data": models})
        name = unquote(seen.path.partition("/models/")[2])
        if name in self.models:
            return _reply(self._model(name))
        return self.refuse(Fault(404, text=f"no {name}"))

    def _model(self, name: str) -> Body:
        model = {"id": name, "object": "model", "created": 1, "owned_by": "us"}
        check_reply(Model, model)
        return model | ({"max_model_len": self.context_tokens} if self.context_tokens else {})

    def _embed(self, seen: Seen) -> Reply:
        check_request(EmbeddingCreateParams, seen.json)
        texts = seen.json["input"]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": [float(len(text) + 1), *[1.0] * (self.dimensions - 1)],
            }
            for index, text in enumerate(texts)
        ]
        used = sum(len(text.split()) for text in texts)
        body = {
            "object": "list",
            # The order is told by the index, and need not be that of the list.
            "data": data[::-1],
            "model": seen.json["model"],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
        check_reply(CreateEmbeddingResponse, body)
        return _reply(body)

    def _chunk(self, model: str, choices: list[Body], usage: Body | None) -> Body:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
        }
        # vLLM's word, and that of others; OpenAI's own interface tells no thoughts.
        own = [choice for choice in choices if "reasoning_content" not in choice["delta"]]
        check_reply(ChatCompletionChunk, {**chunk, "choices": own})
        return chunk


class AzureOpenAi(OpenAiChat):
    """The same behind Azure, which knows deployments and lists none.

    At the older interface they are in the path, at the newer one in the body.
    """

    def is_generation(self, seen: Seen) -> bool:
        return seen.path.endswith(self.path) and bool(seen.json["messages"])

    def serve(self, seen: Seen) -> Reply:
        if seen.path.endswith(self.path):
            return self._probed(seen)
        return self.refuse(Fault(404, text="Resource not found"))

    def _probed(self, seen: Seen) -> Reply:
        _, is_old, rest = seen.path.partition("/deployments/")
        name = unquote(rest.partition("/")[0]) if is_old else seen.json["model"]
        assert not is_old or "api-version" in seen.query
        if name not in self.models:
            return self.refuse(
                Fault(404, "DeploymentNotFound", "The API deployment does not exist")
            )
        return self.refuse(Fault(400, text="[] is too short - 'messages'"))


def read_action(function: Body) -> Action:
    """Return an action on offer."""
    assert TOOL_NAME.fullmatch(function["name"])
    schema = json.dumps(function["parameters"])
    return Action(from_wire(function["name"]), function["description"], schema)


def read_choice(choice: Any) -> tuple[Choice, str]:  # noqa: ANN401  # JSON
    """Return whether to call, and what."""
    if isinstance(choice, str):
        return Choice(choice), ""
    named = choice.get("function", choice)
    return Choice.REQUIRED, from_wire(named["name"])


def read_sampling(body: Body) -> Sampling:
    """Return how to choose tokens."""
    return Sampling(
        body.get("max_tokens") or body["max_completion_tokens"],
        temperature=body.get("temperature", 1.0),
        top_p=body.get("top_p", 1.0),
        seed=body.get("seed", 0),
        stops=tuple(body.get("stop", ())),
        min_p=body.get("min_p", 0.0),
        top_k=body.get("top_k", 0),
        frequency_penalty=body.get("frequency_penalty", 0.0),
        presence_penalty=body.get("presence_penalty", 0.0),
        logprobs=body.get("top_logprobs", 0),
    )


def read_message(message: Body) -> Message:
    """Return a turn."""
    content = message["content"] or ""
    whole = [{"type": "text", "text": content}]
    parts: list[Body] = whole if isinstance(content, str) else content
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    calls = message.get("tool_calls", ())
    return Message(
        ROLES[message["role"]],
        "".join(part["text"] for part in parts if part["type"] == "text"),
        tuple(
            Call(call["id"], from_wire(call["function"]["name"]), call["function"]["arguments"])
            for call in calls
        ),
        message.get("tool_call_id", ""),
        tuple(read_image(url) for url in urls),
    )


def read_image(url: str) -> Image:
    """Return the image in a URL."""
    head, _, data = url.partition(";base64,")
    return Image(head.removeprefix("data:"), base64.b64decode(data, validate=True))


def _parts(said: Said) -> Iterator[tuple[list[Body], Body | None]]:
    yield [_choice({"role": "assistant", "content": ""})], None
    for word in said.reasoning.split():
        yield [_choice({"reasoning_content": word})], None
    for word in said.words:
        yield [_choice({"content": word})], None
    for index, call in enumerate(said.calls):
        head = {"id": f"call_{index}", "type": "function"}
        function = {"name": to_wire(call.action), "arguments": ""}
        yield [_choice({"tool_calls": [{"index": index, **head, "function": function}]})], None
        middle = len(call.arguments) // 2
        for piece in (call.arguments[:middle], call.arguments[middle:]):
            function = {"arguments": piece}
            yield [_choice({"tool_calls": [{"index": index, "function": function}]})], None
    yield [_choice({}, REASONS[said.reason])], None
    yield [], usage_of(said.tokens)


def _choice(delta: Body, reason: str | None = None) -> Body:
    return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}


def usage_of(tokens: Tokens) -> Body:
    """Return what was used, as OpenAI counts: parts are in the whole."""
    written = tokens.output + tokens.reasoning
    return {
        "prompt_tokens": tokens.read,
        "completion_tokens": written,
        "total_tokens": tokens.read + written,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached_input,
            "cache_write_tokens": tokens.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }


def _reply(body: Body) -> Reply:
    return Reply((json.dumps(body).encode(),), headers=JSON_HEADERS)
