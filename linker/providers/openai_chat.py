"""The chat completions of OpenAI, which most servers of models speak too."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Iterator
from functools import lru_cache

from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
)
from openai.types.shared_params import ResponseFormatJSONSchema

from ..conversation import (
    Action,
    Choice,
    Delta,
    FinishReason,
    Image,
    Logprobs,
    Message,
    Prompt,
    Role,
    Sampling,
    TokenLogprob,
    Tokens,
)
from ..schemas import parse_object
from .events import Post, listen
from .pieces import ChatChunk, ChatDelta, ChatUsage, LikelyToken
from .wire import TOOLS_KNOWN_MAX, Answer, FailureTold, failure_said, is_strict, to_wire

_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.ACTION,
    "function_call": FinishReason.ACTION,
    "content_filter": FinishReason.FILTERED,
}


def speak(
    post: Post, model: str, answer: Answer, *, samples: bool, is_compatible: bool
) -> AsyncGenerator[Delta, None]:
    """Yield what a model answers to a prompt, into `answer`.

    Compatible servers know an older word for `tokens_max`, and more ways to choose a token.
    """
    asked = _body(model, answer.prompt, samples=samples, is_compatible=is_compatible)
    return listen(post, "chat/completions", asked, answer, _read)


def _body(model: str, prompt: Prompt, *, samples: bool, is_compatible: bool) -> dict[str, object]:
    sampling, actions = prompt.sampling, prompt.conversation.actions
    body: dict[str, object] = {
        "model": model,
        "messages": [_message(message) for message in prompt.conversation.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens" if is_compatible else "max_completion_tokens": sampling.tokens_max,
    }
    if actions:
        body["tools"] = _tools(actions)
        body["tool_choice"] = _tool_choice(prompt)
        body["parallel_tool_calls"] = prompt.calls_max > 1
    if prompt.answer_schema:
        body["response_format"] = _format(prompt.answer_schema)
    if sampling.stops:
        body["stop"] = sampling.stops
    if samples:
        body |= {"seed": sampling.seed, "temperature": sampling.temperature}
        body |= _cuts(sampling, is_compatible=is_compatible)
    return body


def _cuts(sampling: Sampling, *, is_compatible: bool) -> dict[str, object]:
    """Return what changes anything."""
    cuts: dict[str, object] = {
        "top_p": sampling.top_p if sampling.top_p < 1 else 0,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logprobs": sampling.logprobs > 0,
        "top_logprobs": sampling.logprobs,
    }
    if is_compatible:
        cuts |= {"top_k": sampling.top_k, "min_p": sampling.min_p}
    return {name: value for name, value in cuts.items() if value}


def _read(answer: Answer, event: bytes) -> Iterator[Delta]:
    """Take a piece of the answer."""
    chunk = ChatChunk.model_validate_json(event)
    if chunk.error:
        raise FailureTold(failure_said(chunk.error))
    for choice in (chunk.choices or ())[:1]:
        yield from _read_delta(answer, choice.delta)
        if choice.logprobs is not None:
            answer.logprobs += map(logprobs_of, choice.logprobs.content or ())
        if choice.finish_reason and answer.reason is not FinishReason.FILTERED:
            answer.reason = _REASONS[choice.finish_reason]
    if chunk.usage is not None:
        answer.tokens = _tokens(chunk.usage)


def _read_delta(answer: Answer, delta: ChatDelta) -> Iterator[Delta]:
    # vLLM, SGLang, llama-server and Ollama tell what a model thinks, under one of two names.
    thought = delta.reasoning_content or delta.reasoning or ""
    text = (delta.content or "") + (delta.refusal or "")
    if delta.refusal:
        answer.reason = FinishReason.FILTERED
    if text or thought:
        yield answer.add(text, thought)
    for call in delta.tool_calls or ():
        if call.function is not None:
            yield answer.add_call(call.index, call.function.name, call.function.arguments or "")


def _tokens(usage: ChatUsage) -> Tokens:
    read_details, written_details = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (read_details and read_details.cached_tokens) or 0
    kept = (read_details and read_details.cache_write_tokens) or 0
    thought = (written_details and written_details.reasoning_tokens) or 0
    return Tokens(
        input=max(0, usage.prompt_tokens - cached - kept),
        output=max(0, usage.completion_tokens - thought),
        cached_input=cached,
        cache_write=kept,
        reasoning=thought,
    )


def logprobs_of(token: LikelyToken) -> Logprobs:
    """Return what could have stood in place of a token."""
    likeliest = tuple(TokenLogprob(t.token, t.logprob) for t in token.top_logprobs or ())
    return Logprobs(TokenLogprob(token.token, token.logprob), likeliest)


def _message(message: Message) -> ChatCompletionMessageParam:
    if message.role is Role.SYSTEM:
        return {"role": "system", "content": message.text}
    if message.role is Role.ACTION:
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if message.role is Role.USER:
        images = [_image(image) for image in message.images]
        parts: list[ChatCompletionContentPartParam] = [{"type": "text", "text": message.text}]
        return {"role": "user", "content": parts + images if images else message.text}
    if not message.calls:
        return {"role": "assistant", "content": message.text}
    return {
        "role": "assistant",
        "content": message.text or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": to_wire(call.action), "arguments": call.arguments},
            }
            for call in message.calls
        ],
    }


def _image(image: Image) -> ChatCompletionContentPartParam:
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


def data_url(image: Image) -> str:
    """Return an image as a URL that holds it."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


@lru_cache(TOOLS_KNOWN_MAX)
def _tools(actions: tuple[Action, ...]) -> list[ChatCompletionFunctionToolParam]:
    """Return actions as tools; an agent offers the same ones again and again."""
    return [
        {
            "type": "function",
            "function": {
                "name": to_wire(action.name),
                "description": action.description,
                "parameters": json.loads(action.parameters_schema),
                "strict": is_strict(parse_object(action.parameters_schema)),
            },
        }
        for action in actions
    ]


def _tool_choice(prompt: Prompt) -> ChatCompletionToolChoiceOptionParam:
    if prompt.choice is Choice.REQUIRED and prompt.action:
        return {"type": "function", "function": {"name": to_wire(prompt.action)}}
    return prompt.choice.value


def _format(schema: str) -> ResponseFormatJSONSchema:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": json.loads(schema), "strict": True},
    }
