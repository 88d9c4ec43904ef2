"""Google's Gemini API, as a server speaks it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from google.genai import types

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
from linker.providers.gemini_contents import UNSIGNED
from linker.providers.wire import from_wire, to_wire
from tests.fakes.actor import Said
from tests.fakes.schemas import check_reply, normalised
from tests.fakes.upstream import Fault, Reply, Seen

Body = dict[str, Any]

# Which published type each part of a request has.
PARTS: Mapping[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}
FUNCTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
REASONS = {
    FinishReason.STOP: "STOP",
    FinishReason.ACTION: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.FILTERED: "SAFETY",
}
CHOICES = {"AUTO": Choice.AUTO, "ANY": Choice.REQUIRED, "NONE": Choice.NONE}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
JSON_HEADERS = {"content-type": "application/json"}


class Gemini:
    """The dialect; `models` are those that it has."""

    def __init__(self, models: Sequence[str], dimensions: int = 3_072) -> None:
        self.models = models
        self.dimensions = dimensions

    def is_generation(self, seen: Seen) -> bool:
        return seen.path.endswith(":streamGenerateContent") and seen.query == "alt=sse"

    def read(self, seen: Seen) -> Prompt:
        # Names may be in camelCase or in snake_case, as in all of Google's JSON.
        body = {name: normalised(PARTS[name], part) for name, part in seen.json.items()}
        config = body["generationConfig"]
        calling = body.get("toolConfig", {}).get("functionCallingConfig", {"mode": "NONE"})
        schema = config.get("responseJsonSchema")
        assert bool(schema) == (config.get("responseMimeType") == "application/json")
        return Prompt(
            _read_conversation(body),
            CHOICES[calling["mode"]],
            Sampling(
                config["maxOutputTokens"],
                temperature=config["temperature"],
                top_p=config.get("topP", 1.0),
                top_k=config.get("topK", 0),
                seed=config["seed"],
                stops=tuple(config.get("stopSequences", ())),
                frequency_penalty=config.get("frequencyPenalty", 0.0),
                presence_penalty=config.get("presencePenalty", 0.0),
            ),
            # This cannot be said: a model calls as often as it likes.
            calls_max=16,
            action=from_wire(calling.get("allowedFunctionNames", [""])[0]),
            answer_schema=json.dumps(schema) if schema else "",
        )

    def say(self, seen: Seen, said: Said) -> Reply:
        lines = []
        for chunk in _chunks(said):
            check_reply(types.GenerateContentResponse, chunk)
            lines.append(f"data: {json.dumps(chunk)}\n\n".encode())
        return Reply(tuple(lines), headers={"content-type": "text/event-stream"})

    def refuse(self, fault: Fault) -> Reply:
        status = fault.code or STATUSES.get(fault.status, "INTERNAL")
        error = {"code": fault.status, "message": fault.text, "status": status}
        return Reply((json.dumps({"error": error}).encode(),), fault.status, JSON_HEADERS)

    def serve(self, seen: Seen) -> Reply:
        name, _, method = unquote(seen.path.partition("/models/")[2]).partition(":")
        if name not in self.models:
            return self.refuse(Fault(404, text=f"models/{name} is not found"))
        if method == "batchEmbedContents":
            return self._embed(seen)
        model = {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent"],
        }
        return Reply((json.dumps(model).encode(),), headers=JSON_HEADERS)

    def _embed(self, seen: Seen) -> Reply:
        embeddings = []
        for request in seen.json["requests"]:
            check_reply(types.Content, request["content"])
            assert request["outputDimensionality"] == self.dimensions
            size = float(len(request["content"]["parts"][0]["text"]) + 1)
            embeddings.append({"values": [size, *[1.0] * (self.dimensions - 1)]})
        return Reply((json.dumps({"embeddings": embeddings}).encode(),), headers=JSON_HEADERS)


def _read_conversation(body: Body) -> Conversation:
    system = [
        Message(Role.SYSTEM, part["text"])
        for part in body.get("systemInstruction", {}).get("parts", ())
    ]
    turns = [message for content in body["contents"] for message in _read_content(content)]
    actions = []
    for tool in body.get("tools", ()):
        for function in tool["functionDeclarations"]:
            assert FUNCTION_NAME.fullmatch(function["name"])
            schema = json.dumps(function["parametersJsonSchema"])
            actions.append(Action(from_wire(function["name"]), function["description"], schema))
    return Conversation((*system, *turns), tuple(actions))


def _read_content(content: Body) -> Iterator[Message]:
    parts = content["parts"]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    for result in results:
        assert FUNCTION_NAME.fullmatch(result["name"])
        yield Message(Role.ACTION, json.dumps(result["response"]), call_id=result["id"])
    if results:
        return
    signed = [_base64(part["thoughtSignature"]) for part in parts if "functionCall" in part]
    assert all(signature == UNSIGNED for signature in signed)
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    blobs = [part["inlineData"] for part in parts if "inlineData" in part]
    yield Message(
        Role.ASSISTANT if content["role"] == "model" else Role.USER,
        "".join(part.get("text", "") for part in parts),
        tuple(Call(c["id"], from_wire(c["name"]), json.dumps(c["args"])) for c in calls),
        images=tuple(Image(blob["mimeType"], _base64(blob["data"])) for blob in blobs),
    )


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


def _chunks(said: Said) -> Iterator[Body]:
    tokens = said.tokens
    read = {
        "promptTokenCount": tokens.read,
        "cachedContentTokenCount": tokens.cached_input,
    }
    for word in said.reasoning.split():
        yield _chunk([{"text": word, "thought": True}])
    for word in said.words:
        yield _chunk([{"text": word}])
    calls = [
        {"functionCall": {"name": to_wire(call.action), "args": json.loads(call.arguments)}}
        for call in said.calls
    ]
    # Calls come whole; the first one signed, so that its thoughts are found again.
    for index, call in enumerate(calls):
        yield _chunk([call | ({} if index else {"thoughtSignature": "c2lnbmVk"})])
    written = {
        "candidatesTokenCount": tokens.output,
        "thoughtsTokenCount": tokens.reasoning,
        "totalTokenCount": tokens.read + tokens.output + tokens.reasoning,
    }
    yield _chunk([{"text": ""}], REASONS[said.reason]) | {"usageMetadata": {**read, **written}}


def _chunk(parts: list[Body], reason: str | None = None) -> Body:
    candidate: Body = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini", "responseId": "r-1"}
