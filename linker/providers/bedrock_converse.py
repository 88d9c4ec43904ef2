"""The Converse interface of Bedrock: a prompt as its JSON, and what comes back."""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Mapping
from functools import lru_cache

from chassis.canonical import Json

from ..conversation import (
    Action,
    Choice,
    Conversation,
    Delta,
    FinishReason,
    Message,
    Prompt,
    Role,
    Tokens,
)
from ..schemas import parse_object
from .aws import Frame, failure_of_answer
from .known import Known
from .plain import in_words as told_in_words
from .wire import TOOLS_KNOWN_MAX, Answer, FailureTold, is_strict, to_wire

# By the longest beginning of the name, without the part of the world. From the pages of the models,
# https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html, November 2026.
BEDROCK: Mapping[str, Known] = {
    "amazon.nova-lite": Known(300_000, constrains=False),
    "amazon.nova-micro": Known(128_000, takes_images=False, constrains=False),
    "amazon.nova-pro": Known(300_000, constrains=False),
    "anthropic.claude": Known(200_000, samples=False, constrains=False),
    "anthropic.claude-3": Known(200_000, constrains=False),
    "anthropic.claude-haiku-4": Known(200_000, constrains=False),
    "anthropic.claude-sonnet-4": Known(200_000, constrains=False),
    "meta.llama3-1": Known(128_000, takes_images=False, constrains=False),
    "meta.llama3-3": Known(128_000, takes_images=False, constrains=False),
}

_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.ACTION,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "content_filtered": FinishReason.FILTERED,
    "guardrail_intervened": FinishReason.FILTERED,
}


def body_of(prompt: Prompt, known: Known) -> dict[str, Json]:
    """Return what to send. Seeds, penalties, `top_k` and the like are not of this interface."""
    messages, actions = prompt.conversation.messages, prompt.conversation.actions
    # Tools can only be forbidden by not being there, and without them calls are not taken.
    offers = bool(actions) and prompt.choice is not Choice.NONE
    system = [message.text for message in messages if message.role is Role.SYSTEM and message.text]
    body: dict[str, Json] = {
        "messages": _turns(messages, in_words=not offers),
        "inferenceConfig": _config(prompt, known),
    }
    if system:
        body["system"] = [{"text": text} for text in system]
    if offers:
        tools = _tools(actions, constrains=known.constrains)
        body["toolConfig"] = {"tools": tools, "toolChoice": _choice(prompt)}
    if prompt.answer_schema:
        schema: Json = {"schema": prompt.answer_schema, "name": "answer"}
        text: Json = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body["outputConfig"] = {"textFormat": text}
    return body


def read(answer: Answer, frame: Frame) -> Delta | None:
    """Take a frame of the answer; one that ends it badly raises `FailureTold`."""
    if frame.is_error:
        # It has no status of HTTP: that of the answer was sent long before.
        raise FailureTold(failure_of_answer(0, {"x-amzn-errortype": frame.name}, frame.payload))
    event = json.loads(frame.payload)
    if frame.name == "contentBlockStart" and (call := event["start"].get("toolUse")):
        return answer.add_call(event["contentBlockIndex"], _text(call["name"]))
    if frame.name == "contentBlockDelta":
        delta = event["delta"]
        if "text" in delta:
            return answer.add(_text(delta["text"]))
        if "toolUse" in delta:
            written = _text(delta["toolUse"]["input"])
            return answer.add_call(event["contentBlockIndex"], None, written)
        if "text" in delta.get("reasoningContent", {}):
            return answer.add("", _text(delta["reasoningContent"]["text"]))
    elif frame.name == "messageStop":
        answer.reason = _REASONS[event["stopReason"]]
    elif frame.name == "metadata":
        usage = event["usage"]
        # What was read from the cache or written to it is not in the input.
        answer.tokens = Tokens(
            input=_count(usage["inputTokens"]),
            output=_count(usage["outputTokens"]),
            cached_input=_count(usage.get("cacheReadInputTokens")),
            cache_write=_count(usage.get("cacheWriteInputTokens")),
        )
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("is no text")
    return value


def _count(value: object) -> int:
    return max(0, operator.index(value or 0))  # type: ignore[arg-type]  # whatever it is: no number raises


def _config(prompt: Prompt, known: Known) -> dict[str, Json]:
    sampling = prompt.sampling
    config: dict[str, Json] = {"maxTokens": sampling.tokens_max}
    if known.samples:
        config["temperature"] = sampling.temperature
    if known.samples and sampling.top_p < 1:
        config["topP"] = sampling.top_p
    if sampling.stops:
        config["stopSequences"] = list(sampling.stops)
    return config


def _turns(messages: tuple[Message, ...], *, in_words: bool) -> list[Json]:
    """Return the turns without the system's; those of one role that follow each other are one."""
    turns: list[tuple[str, list[Json]]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].extend(_content(message, in_words=in_words))
    return [{"role": role, "content": content} for role, content in turns]


def _content(message: Message, *, in_words: bool) -> list[Json]:
    if in_words and (message.calls or message.role is Role.ACTION):
        return [
            {"text": told_in_words(Conversation((message,)), keeps_system=True).messages[0].text}
        ]
    # Empty texts are refused.
    text: list[Json] = [{"text": message.text}] if message.text else []
    if message.role is Role.ACTION:
        return [{"toolResult": {"toolUseId": message.call_id, "content": text}}]
    images: list[Json] = [
        {
            "image": {
                "format": image.media_type.rpartition("/")[2],
                "source": {"bytes": base64.b64encode(image.data).decode()},
            }
        }
        for image in message.images
    ]
    calls: list[Json] = [
        {
            "toolUse": {
                "toolUseId": call.id,
                "name": to_wire(call.action),
                "input": json.loads(call.arguments),
            }
        }
        for call in message.calls
    ]
    return text + images + calls


@lru_cache(TOOLS_KNOWN_MAX)
def _tools(actions: tuple[Action, ...], *, constrains: bool) -> list[Json]:
    """Return actions as tools; an agent offers the same ones again and again."""
    return [_tool(action, constrains=constrains) for action in actions]


def _tool(action: Action, *, constrains: bool) -> Json:
    schema = parse_object(action.parameters_schema)
    tool: dict[str, Json] = {"name": to_wire(action.name), "inputSchema": {"json": schema}}
    if action.description:
        tool["description"] = action.description
    if constrains and is_strict(schema):
        tool["strict"] = True
    return {"toolSpec": tool}


def _choice(prompt: Prompt) -> Json:
    if prompt.choice is Choice.REQUIRED and prompt.action:
        return {"tool": {"name": to_wire(prompt.action)}}
    return {"any": {}} if prompt.choice is Choice.REQUIRED else {"auto": {}}
