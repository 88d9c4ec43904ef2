"""What is read of the pieces in which answers arrive, and nothing else of them.

The packages make an object of every part of every piece, in Python; that takes as long as all the
rest. Servers that are only nearly compatible may leave out what is not read here.
"""

from __future__ import annotations

from typing import TypeAlias

from pydantic import BaseModel, NonNegativeInt

# What is told in place of a piece.
Problem: TypeAlias = dict[str, object] | str | None


class _Token(BaseModel):
    token: str = ""
    logprob: float = 0.0


class LikelyToken(_Token):
    """A token, and those that could have stood in its place."""

    top_logprobs: list[_Token] | None = None


class Details(BaseModel):
    """Parts of what was used."""

    cached_tokens: NonNegativeInt | None = None
    cache_write_tokens: NonNegativeInt | None = None
    reasoning_tokens: NonNegativeInt | None = None
    thinking_tokens: NonNegativeInt | None = None


# --- Chat completions ----------------------------------------------------------------------------


class ChatUsage(BaseModel):
    """What a chat completion used."""

    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _ChatCall(BaseModel):
    index: int = 0
    function: _Function | None = None


class ChatDelta(BaseModel):
    """What is new; thoughts have one of two names."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ChatCall] | None = None


class _ChatLogprobs(BaseModel):
    content: list[LikelyToken] | None = None


class _ChatChoice(BaseModel):
    delta: ChatDelta = ChatDelta()
    finish_reason: str | None = None
    logprobs: _ChatLogprobs | None = None


class ChatChunk(BaseModel):
    """A piece of a chat completion, or with `error` what ended it."""

    choices: list[_ChatChoice] | None = None
    usage: ChatUsage | None = None
    error: Problem = None


# --- Responses -----------------------------------------------------------------------------------


class _ResponsesUsage(BaseModel):
    input_tokens: NonNegativeInt = 0
    output_tokens: NonNegativeInt = 0
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None


class _Reason(BaseModel):
    reason: str | None = None


class _Error(BaseModel):
    code: str | None = None
    message: str = ""


class ResponsesEnd(BaseModel):
    """A response at its end."""

    usage: _ResponsesUsage | None = None
    incomplete_details: _Reason | None = None
    error: _Error | None = None


class _ResponsesItem(BaseModel):
    type: str = ""
    name: str | None = None
    arguments: str | None = None


class ResponsesEvent(_Error):
    """A piece of a response; which parts it has depends on its type, and an `error` has none."""

    type: str = ""
    delta: str = ""
    output_index: int = 0
    logprobs: list[LikelyToken] | None = None
    item: _ResponsesItem = _ResponsesItem()
    response: ResponsesEnd = ResponsesEnd()
    error: Problem = None


# --- Messages ------------------------------------------------------------------------------------


class MessagesUsage(BaseModel):
    """What an answer used; what is None did not change."""

    input_tokens: NonNegativeInt | None = None
    output_tokens: NonNegativeInt = 0
    cache_read_input_tokens: NonNegativeInt | None = None
    cache_creation_input_tokens: NonNegativeInt | None = None
    output_tokens_details: Details | None = None


class _Start(BaseModel):
    usage: MessagesUsage


class _Block(BaseModel):
    type: str
    name: str | None = None


class _BlockDelta(BaseModel):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class MessagesEvent(BaseModel):
    """A piece of an answer; which parts it has depends on its type."""

    type: str
    index: int = 0
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _BlockDelta = _BlockDelta()
    usage: MessagesUsage | None = None
