"""Anthropic's Messages: what is sent, and what comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from anthropic.types import (
    ContentBlockParam,
    ImageBlockParam,
    MessageParam,
    OutputConfigParam,
    ToolChoiceParam,
    ToolParam,
)

from ..conversation import (
    Action,
    Choice,
    Conversation,
    Delta,
    FinishReason,
    Image,
    Message,
    Prompt,
    Role,
    Sampling,
    Tokens,
)
from ..schemas import parse_object
from .pieces import MessagesEvent, MessagesUsage
from .wire import TOOLS_KNOWN_MAX, Answer, to_wire
from .wire import is_strict as can_be_strict

# So many tools can be held to their schemas at once; of more, none is.
STRICT_TOOLS_MAX = 20

_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.ACTION,
    "refusal": FinishReason.FILTERED,
}


def request(
    model: str, prompt: Prompt, *, samples: bool, constrains: bool, keeps: bool
) -> dict[str, object]:
    """Return what is sent. The provider keeps what it has read if it `keeps`."""
    sampling, actions = prompt.sampling, prompt.conversation.actions
    body: dict[str, object] = {
        "model": model,
        "messages": turns_of(prompt.conversation),
        "max_tokens": sampling.tokens_max,
        "stream": True,
    }
    if system := system_of(prompt.conversation):
        body["system"] = system
    if actions:
        body["tools"] = offer(actions, is_strict=constrains)
        body["tool_choice"] = _choose(prompt)
    if prompt.answer_schema:
        body["output_config"] = _form(prompt.answer_schema)
    if sampling.stops:
        body["stop_sequences"] = sampling.stops
    if keeps:
        body["cache_control"] = {"type": "ephemeral"}
    return body | _sample(sampling) if samples else body


def read(answer: Answer, event: MessagesEvent) -> Iterator[Delta]:
    """Take a piece of the answer."""
    block, delta = event.content_block, event.delta
    if event.message is not None:
        # What is written comes in pieces; the first of its tokens is counted already here.
        yield answer.start(replace(_tokens(event.message.usage, Tokens()), output=0))
    elif block is not None and block.type == "tool_use":
        yield answer.add_call(event.index, block.name)
    elif delta.type == "text_delta":
        yield answer.add(delta.text)
    elif delta.type == "thinking_delta":
        yield answer.add("", delta.thinking)
    elif delta.type == "input_json_delta":
        yield answer.add_call(event.index, None, delta.partial_json)
    elif event.usage is not None:
        answer.tokens = _tokens(event.usage, answer.tokens)
        if delta.stop_reason is not None:
            answer.reason = _REASONS[delta.stop_reason]


def _tokens(usage: MessagesUsage, known: Tokens) -> Tokens:
    """Return what was used; what is not told again is as it was."""
    cached, kept = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    details = usage.output_tokens_details
    thought = (details and details.thinking_tokens) or 0
    return Tokens(
        input=known.input if usage.input_tokens is None else usage.input_tokens,
        output=max(0, usage.output_tokens - thought),
        cached_input=known.cached_input if cached is None else cached,
        cache_write=known.cache_write if kept is None else kept,
        reasoning=thought,
    )


def system_of(conversation: Conversation) -> str:
    """Return the instructions, which have a place of their own."""
    texts = [m.text for m in conversation.messages if m.role is Role.SYSTEM]
    return "\n\n".join(text for text in texts if text)


def turns_of(conversation: Conversation) -> list[MessageParam]:
    """Return the turns. All results of one turn are in the one turn after it."""
    turns: list[MessageParam] = []
    results: list[ContentBlockParam] = []
    for message in conversation.messages:
        if message.role is Role.ACTION:
            if not results:
                turns.append({"role": "user", "content": results})
            results.append(
                {
                    "type": "tool_result",
                    "tool_use_id": message.call_id,
                    "content": message.text,
                }
            )
            continue
        results = []
        if message.role is not Role.SYSTEM and (blocks := list(_blocks(message))):
            turns.append(
                {"role": "assistant", "content": blocks}
                if message.role is Role.ASSISTANT
                else {"role": "user", "content": blocks}
            )
    return turns


def _blocks(message: Message) -> Iterator[ContentBlockParam]:
    yield from map(_image, message.images)
    # An empty text is refused.
    if message.text:
        yield {"type": "text", "text": message.text}
    for call in message.calls:
        yield {
            "type": "tool_use",
            "id": call.id,
            "name": to_wire(call.action),
            "input": {**parse_object(call.arguments)},
        }


def _image(image: Image) -> ImageBlockParam:
    return {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": image.media_type,  # type: ignore[typeddict-item]  # the contract has the same four
            "data": base64.b64encode(image.data).decode(),
        },
    }


@lru_cache(TOOLS_KNOWN_MAX)
def offer(actions: tuple[Action, ...], *, is_strict: bool) -> list[ToolParam]:
    """Return actions as tools; an agent offers the same ones again and again."""
    return [_tool(a, is_strict=is_strict and len(actions) <= STRICT_TOOLS_MAX) for a in actions]


def _tool(action: Action, *, is_strict: bool) -> ToolParam:
    tool: ToolParam = {
        "name": to_wire(action.name),
        "description": action.description,
        "input_schema": json.loads(action.parameters_schema),
    }
    if is_strict and can_be_strict(parse_object(action.parameters_schema)):
        tool["strict"] = True
    return tool


def _choose(prompt: Prompt) -> ToolChoiceParam:
    is_single = prompt.calls_max == 1
    if prompt.choice is Choice.NONE:
        return {"type": "none"}
    if prompt.choice is Choice.AUTO:
        return {"type": "auto", "disable_parallel_tool_use": is_single}
    if prompt.action:
        name = to_wire(prompt.action)
        return {"type": "tool", "name": name, "disable_parallel_tool_use": is_single}
    return {"type": "any", "disable_parallel_tool_use": is_single}


def _form(schema: str) -> OutputConfigParam:
    return {"format": {"type": "json_schema", "schema": json.loads(schema)}}


def _sample(sampling: Sampling) -> dict[str, object]:
    """Return how to choose tokens, which the package has no words for; 1 is as hot as it gets."""
    more: dict[str, object] = {"temperature": min(sampling.temperature, 1.0)}
    if sampling.top_p < 1:
        more["top_p"] = sampling.top_p
    if sampling.top_k:
        more["top_k"] = sampling.top_k
    return more
