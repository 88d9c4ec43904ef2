"""Gemini's contents: what is sent, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache

from google.genai import types

from chassis.canonical import Json

from ..conversation import Action, Choice, Conversation, Delta, FinishReason, Message, Prompt, Role
from ..conversation import Tokens as Used
from ..schemas import Malformed, parse_json, parse_object
from .wire import TOOLS_KNOWN_MAX, Answer, Failure, FailureTold, to_wire

# Later models want to see their own thoughts with their calls again, and take this in their place:
# https://ai.google.dev/gemini-api/docs/thought-signatures.
UNSIGNED = b"skip_thought_signature_validator"
SEED_MAX = 2**31 - 1

_MODES = {Choice.AUTO: "AUTO", Choice.REQUIRED: "ANY", Choice.NONE: "NONE"}
_REASONS = {
    types.FinishReason.STOP: FinishReason.STOP,
    types.FinishReason.MAX_TOKENS: FinishReason.LENGTH,
}
# The model made a mistake: another try may go well.
_MISTAKES = (
    types.FinishReason.MALFORMED_FUNCTION_CALL,
    types.FinishReason.UNEXPECTED_TOOL_CALL,
    types.FinishReason.MALFORMED_RESPONSE,
)


def read(answer: Answer, chunk: types.GenerateContentResponse) -> Iterator[Delta]:
    """Take a piece of the answer."""
    if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
        answer.reason = FinishReason.FILTERED
    for candidate in (chunk.candidates or ())[:1]:
        content = candidate.content
        for part in (content.parts if content else None) or ():
            yield from _read_part(answer, part)
        if candidate.finish_reason in _MISTAKES:
            raise FailureTold(Failure(f"it ended with {candidate.finish_reason.value}", 500))
        if candidate.finish_reason is not None:
            answer.reason = _REASONS.get(candidate.finish_reason, FinishReason.FILTERED)
    if chunk.usage_metadata is not None:
        answer.tokens = _tokens(chunk.usage_metadata)


def _read_part(answer: Answer, part: types.Part) -> Iterator[Delta]:
    if part.function_call is not None:
        place = f"{len(answer.places)}"
        arguments = json.dumps(part.function_call.args or {}, ensure_ascii=False)
        yield answer.add_call(place, part.function_call.name, arguments)
    elif part.text:
        yield answer.add("", part.text) if part.thought else answer.add(part.text)


def _tokens(usage: types.GenerateContentResponseUsageMetadata) -> Used:
    cached = usage.cached_content_token_count or 0
    read = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    return Used(
        input=max(0, read - cached),
        output=usage.candidates_token_count or 0,
        cached_input=cached,
        reasoning=usage.thoughts_token_count or 0,
    )


def configured(prompt: Prompt, http: types.HttpOptions) -> types.GenerateContentConfig:
    """Return everything that is asked but the conversation. How many calls cannot be said."""
    sampling, actions = prompt.sampling, prompt.conversation.actions
    schema = prompt.answer_schema
    return types.GenerateContentConfig(
        http_options=http,
        system_instruction=system_of(prompt.conversation) or None,
        max_output_tokens=sampling.tokens_max,
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.top_p < 1 else None,
        top_k=sampling.top_k or None,
        seed=sampling.seed & SEED_MAX,
        frequency_penalty=sampling.frequency_penalty or None,
        presence_penalty=sampling.presence_penalty or None,
        stop_sequences=list(sampling.stops) or None,
        response_mime_type="application/json" if schema else None,
        response_json_schema=json.loads(schema) if schema else None,
        tools=[*offer(actions)] if actions else None,
        tool_config=_choose(prompt) if actions else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )


def system_of(conversation: Conversation) -> str:
    """Return the instructions, which have a place of their own."""
    texts = [m.text for m in conversation.messages if m.role is Role.SYSTEM]
    return "\n\n".join(text for text in texts if text)


def contents_of(conversation: Conversation) -> list[types.Content]:
    """Return the turns. All results of one turn are in the one turn after it."""
    contents: list[types.Content] = []
    names = {call.id: call.action for m in conversation.messages for call in m.calls}
    results: list[types.Part] = []
    for message in conversation.messages:
        if message.role is Role.ACTION:
            if not results:
                contents.append(types.Content(role="user"))
            results.append(_result(message, names.get(message.call_id, "")))
            contents[-1].parts = results
            continue
        results = []
        if message.role is not Role.SYSTEM and (parts := list(_parts(message))):
            role = "model" if message.role is Role.ASSISTANT else "user"
            contents.append(types.Content(role=role, parts=parts))
    return contents


def _parts(message: Message) -> Iterator[types.Part]:
    for image in message.images:
        yield types.Part.from_bytes(data=image.data, mime_type=image.media_type)
    if message.text:
        yield types.Part(text=message.text)
    for call in message.calls:
        arguments = {**parse_object(call.arguments)}
        written = types.FunctionCall(id=call.id, name=to_wire(call.action), args=arguments)
        yield types.Part(function_call=written, thought_signature=UNSIGNED)


def _result(message: Message, action: str) -> types.Part:
    """Return a result, which must be an object here."""
    try:
        value: Json = parse_json(message.text)
    except Malformed:
        value = message.text
    response = value if isinstance(value, dict) else {"output": value}
    return types.Part(
        function_response=types.FunctionResponse(
            id=message.call_id, name=to_wire(action), response=response
        )
    )


@lru_cache(TOOLS_KNOWN_MAX)
def offer(actions: tuple[Action, ...]) -> tuple[types.Tool, ...]:
    """Return actions as tools; an agent offers the same ones again and again."""
    declarations = [
        types.FunctionDeclaration(
            name=to_wire(action.name),
            description=action.description,
            parameters_json_schema=json.loads(action.parameters_schema),
        )
        for action in actions
    ]
    return (types.Tool(function_declarations=declarations),)


def _choose(prompt: Prompt) -> types.ToolConfig:
    named = [to_wire(prompt.action)] if prompt.action else None
    mode = types.FunctionCallingConfigMode(_MODES[prompt.choice])
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=named)
    return types.ToolConfig(function_calling_config=calling)
