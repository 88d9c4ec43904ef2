"""A provider that says what it was told to say, for tests and for the simulation."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chassis.errors import ServiceError

from ..conversation import (
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Prompt,
    Role,
    Tokens,
    WrittenCall,
)
from ..errors import ModelNotFound
from ..links import ListedModel, ModelFacts
from ..ports import Key
from .talking import OnlyTalks


@dataclass(frozen=True)
class Line:
    """What the model says next: text, calls, or both."""

    text: str = ""
    calls: tuple[WrittenCall, ...] = ()


Script: TypeAlias = Callable[[Prompt], "Line | ServiceError"]


def in_order(*lines: Line | ServiceError) -> Script:
    """Return a script that says each line once; asking for more is a bug of the test."""
    queue = deque(lines)
    return lambda _: queue.popleft()


def by_turn(*lines: Line | ServiceError) -> Script:
    """Return a script that says the n-th line as the n-th turn of the assistant.

    A generation that is repeated, after a crash for example, gives the same line again.
    """
    return lambda prompt: lines[
        sum(message.role is Role.ASSISTANT for message in prompt.conversation.messages)
    ]


class ScriptedProvider:
    """Models that all follow one script; `prompts` are those that were asked, oldest first.

    Without `counts`, nobody knows their tokens before they have read them.
    """

    def __init__(
        self,
        script: Script,
        *,
        models: Sequence[str] = ("actor",),
        context_tokens: int = 4096,
        counts: bool = True,
    ) -> None:
        self.prompts: list[Prompt] = []
        self._script = script
        self._counts = counts
        self._models = tuple(sorted(models))
        self._facts = ModelFacts(context_tokens, takes_actions=True, constrains_output=False)

    async def models(self) -> Sequence[ListedModel]:
        """Return the models."""
        return [ListedModel(name, is_loaded=True) for name in self._models]

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    async def open(self, model: str, key: Key | None = None) -> ScriptedModel:
        """Return a model; it needs no key. Raises `ModelNotFound`."""
        if model not in self._models:
            raise ModelNotFound(model)
        return ScriptedModel(
            f"scripted/{model}", self._facts, self._script, self.prompts, counts=self._counts
        )


class ScriptedModel(OnlyTalks):
    """A model that follows a script. Its tokens are words."""

    def __init__(
        self,
        name: str,
        facts: ModelFacts,
        script: Script,
        prompts: list[Prompt],
        *,
        counts: bool,
    ) -> None:
        self.name = name
        self._facts = facts
        self._counts = counts
        self._script = script
        self._prompts = prompts

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model."""
        return self._facts

    async def count_tokens(self, conversation: Conversation) -> int | None:
        """Return the number of words of everything that the model would read."""
        return _count(conversation) if self._counts else None

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yield the next line of the script, word by word."""
        self._prompts.append(prompt)
        line = self._script(prompt)
        if isinstance(line, ServiceError):
            raise line
        input_tokens = _count(prompt.conversation)
        yield Delta("", Tokens(input_tokens, 0))
        text, reason = _cut(line, prompt)
        written = 0
        for word in _words(text):
            await asyncio.sleep(0)  # a model takes its time, and others get theirs
            written += 1
            yield Delta(word, Tokens(input_tokens, written))
        calls = () if reason is FinishReason.LENGTH else line.calls
        written += sum(len(_words(call.arguments)) for call in calls)
        yield Finished(reason, text, calls, Tokens(input_tokens, written))


def _count(conversation: Conversation) -> int:
    texts = [message.text for message in conversation.messages]
    texts += [call.arguments for message in conversation.messages for call in message.calls]
    texts += [f"{a.name} {a.description} {a.parameters_schema}" for a in conversation.actions]
    return sum(len(_words(text)) for text in texts) + len(conversation.messages)


def _cut(line: Line, prompt: Prompt) -> tuple[str, FinishReason]:
    """Return as much of the text as was asked for, and why it ends there."""
    sampling = prompt.sampling
    ends = [line.text.find(stop) for stop in sampling.stops if stop in line.text]
    words = _words(line.text[: min(ends)] if ends else line.text)
    cost = len(words) + sum(len(_words(call.arguments)) for call in line.calls)
    if cost > sampling.tokens_max:
        return "".join(words[: sampling.tokens_max]), FinishReason.LENGTH
    return "".join(words), FinishReason.ACTION if line.calls else FinishReason.STOP


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)
