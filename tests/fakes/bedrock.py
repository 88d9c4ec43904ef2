"""Bedrock's Converse interface, held against the model of the service that AWS publishes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser
from botocore.serialize import create_serializer
from botocore.session import Session
from botocore.validate import ParamValidator

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
from tests.fakes.actor import Said
from tests.fakes.aws import STREAM_HEADERS, event, refusal
from tests.fakes.upstream import Fault, Reply, Seen

Body = dict[str, Any]

REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.ACTION: "tool_use",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.FILTERED: "content_filtered",
}


class Bedrock:
    """The dialect of a region that has one model."""

    def __init__(self, model: str) -> None:
        self.model = model

    def is_generation(self, seen: Seen) -> bool:
        return seen.path.endswith("/converse-stream")

    def read(self, seen: Seen) -> Prompt:
        body = seen.json
        check_request("ConverseStream", self.model, seen)
        roles = [turn["role"] for turn in body["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)], "turns alternate"
        config, tools = body["inferenceConfig"], body.get("toolConfig", {})
        choice = tools.get("toolChoice", {})
        named = choice.get("tool", {}).get("name", "")
        schema = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
        return Prompt(
            Conversation(
                (*_read_system(body), *_read_turns(body)),
                tuple(_read_tool(tool["toolSpec"]) for tool in tools.get("tools", ())),
            ),
            Choice.REQUIRED
            if {"any", "tool"} & choice.keys()
            else (Choice.AUTO if choice else Choice.NONE),
            Sampling(
                config["maxTokens"],
                temperature=config.get("temperature", 1.0),
                top_p=config.get("topP", 1.0),
                stops=tuple(config.get("stopSequences", ())),
            ),
            calls_max=16,
            action=from_wire(named),
            answer_schema=schema.get("jsonSchema", {}).get("schema", ""),
        )

    def say(self, seen: Seen, said: Said) -> Reply:
        return Reply(tuple(_checked(*part) for part in _parts(said)), headers=STREAM_HEADERS)

    def refuse(self, fault: Fault) -> Reply:
        return refusal(fault.status, fault.code or "TestException", {"message": fault.text})

    def serve(self, seen: Seen) -> Reply:
        if not seen.path.startswith("/model/") or not seen.path.endswith("/count-tokens"):
            return refusal(404, "UnknownOperationException", {})
        name = unquote(seen.path.removeprefix("/model/").removesuffix("/count-tokens"))
        if name != self.model:
            message = "The provided model identifier is invalid."
            return refusal(400, "ValidationException", {"message": message})
        check_request("CountTokens", self.model, seen)
        return Reply((b'{"inputTokens": 1}',), headers={"content-type": "application/json"})


@cache
def published() -> ServiceModel:
    """Return what AWS publishes of the interface, in its package."""
    found: ServiceModel = Session().get_service_model("bedrock-runtime")
    return found


def check_request(operation: str, model: str, seen: Seen) -> None:
    """Raise unless a request is the one that the package of AWS would have sent."""
    shape = published().operation_model(operation)
    parameters = _with_bytes({"modelId": model, **seen.json})
    report = ParamValidator().validate(parameters, shape.input_shape)
    assert not report.has_errors(), report.generate_report()
    made = create_serializer("rest-json").serialize_to_request(parameters, shape)
    assert seen.path == made["url_path"]
    assert seen.json == json.loads(made["body"])


def _checked(name: str, content: Body) -> bytes:
    """Return an event, of which the package of AWS reads all that is in it."""
    shape = published().operation_model("ConverseStream").output_shape.members["stream"]
    response = {
        "headers": {":event-type": name},
        "body": json.dumps(content).encode(),
        "status_code": 200,
    }
    assert EventStreamJSONParser().parse(response, shape) == {name: content}
    return event(name, content)


def _with_bytes(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return parameters as the package takes them: it encodes bytes itself."""
    if isinstance(value, list):
        return [_with_bytes(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(part) if name == "bytes" else _with_bytes(part)
        for name, part in value.items()
    }


def _read_system(body: Body) -> Iterator[Message]:
    for block in body.get("system", ()):
        yield Message(Role.SYSTEM, block["text"])


def _read_turns(body: Body) -> Iterator[Message]:
    """Yield messages; results of tools and what the user says share a turn."""
    for turn in body["messages"]:
        text, calls, images = "", list[Call](), list[Image]()
        for block in turn["content"]:
            if "toolResult" in block:
                result = block["toolResult"]
                said = "".join(part["text"] for part in result["content"])
                yield Message(Role.ACTION, said, call_id=result["toolUseId"])
            elif "toolUse" in block:
                use = block["toolUse"]
                arguments = json.dumps(use["input"])
                calls.append(Call(use["toolUseId"], from_wire(use["name"]), arguments))
            elif "image" in block:
                image = block["image"]
                data = base64.b64decode(image["source"]["bytes"], validate=True)
                images.append(Image(f"image/{image['format']}", data))
            else:
                text += block["text"]
        role = Role.ASSISTANT if turn["role"] == "assistant" else Role.USER
        if text or calls or images:
            yield Message(role, text, tuple(calls), images=tuple(images))


def _read_tool(tool: Body) -> Action:
    schema = json.dumps(tool["inputSchema"]["json"])
    return Action(from_wire(tool["name"]), tool.get("description", ""), schema)


def _parts(said: Said) -> Iterator[tuple[str, Body]]:
    yield "messageStart", {"role": "assistant"}
    for word in said.reasoning.split():
        yield _delta(0, {"reasoningContent": {"text": word}})
    for word in said.words:
        yield _delta(1, {"text": word})
    for index, call in enumerate(said.calls, 2):
        use = {"toolUseId": f"t-{index}", "name": to_wire(call.action)}
        yield "contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": use}}
        middle = len(call.arguments) // 2
        for piece in (call.arguments[:middle], call.arguments[middle:]):
            yield _delta(index, {"toolUse": {"input": piece}})
        yield "contentBlockStop", {"contentBlockIndex": index}
    yield "messageStop", {"stopReason": REASONS[said.reason]}
    tokens = said.tokens
    usage = {
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.read + tokens.output,
        "cacheReadInputTokens": tokens.cached_input,
        "cacheWriteInputTokens": tokens.cache_write,
    }
    yield "metadata", {"usage": usage, "metrics": {"latencyMs": 5}}


def _delta(index: int, delta: Body) -> tuple[str, Body]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
