"""What the models behind all fakes answer, and what they were asked, in one vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from linker.conversation import (
    Choice,
    FinishReason,
    Prompt,
    Tokens,
    WrittenCall,
)
from tests.fakes.upstream import Fault, Reply, Seen, Upstream

ARGUMENTS = '{"text": "Up.", "stars": 5}'


@dataclass(frozen=True)
class Said:
    """An answer, in pieces; `text` is cut into words, `reasoning` too."""

    text: str = ""
    calls: tuple[WrittenCall, ...] = ()
    reasoning: str = ""
    reason: FinishReason = FinishReason.STOP
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def words(self) -> list[str]:
        """Return the text in pieces."""
        return words(self.text)


def words(text: str) -> list[str]:
    """Return a text in pieces that begin with their space."""
    return re.findall(r"\s*\S+|\s+$", text)


def act(prompt: Prompt) -> Said:
    """Answer as well as a fake can: within its tokens, up to its stops, with calls if it must."""
    if prompt.choice is Choice.REQUIRED:
        names = [prompt.action] if prompt.action else [a.name for a in prompt.conversation.actions]
        calls = tuple(WrittenCall(name, ARGUMENTS) for name in names[: prompt.calls_max])
        return _costing(prompt, Said(calls=calls, reason=FinishReason.ACTION))
    text = f"Coin {prompt.sampling.seed} rose. Coin two fell. Coin three slept."
    if prompt.answer_schema:
        text = '{"coin": "two", "fell": true}'
    ends = [text.find(stop) for stop in prompt.sampling.stops if stop in text]
    text = text[: min(ends)] if ends else text
    pieces = words(text)
    if len(pieces) > prompt.sampling.tokens_max:
        text = "".join(pieces[: prompt.sampling.tokens_max])
        return _costing(prompt, Said(text, reason=FinishReason.LENGTH))
    return _costing(prompt, Said(text))


def _costing(prompt: Prompt, said: Said) -> Said:
    """Return what was said with what it used: one token is one word."""
    read = sum(len(words(message.text)) for message in prompt.conversation.messages)
    written = len(said.words) + sum(len(words(call.arguments)) for call in said.calls)
    return replace(said, tokens=Tokens(input=read, output=written))


class Dialect(Protocol):
    """How one interface says things. Each checks what it reads and says against a schema."""

    def is_generation(self, seen: Seen) -> bool:
        """Tell whether a request wants an answer of a model."""

    def read(self, seen: Seen) -> Prompt:
        """Return what was asked. Raises if the request is not as published."""

    def say(self, seen: Seen, said: Said) -> Reply:
        """Return an answer as it is sent."""

    def refuse(self, fault: Fault) -> Reply:
        """Return an error as it is sent."""

    def serve(self, seen: Seen) -> Reply:
        """Answer what is not a generation: models, embeddings, counts."""


@dataclass
class Actor:
    """A model behind an interface: keeps what it was asked, says `script` or what it thinks."""

    dialect: Dialect
    prompts: list[Prompt] = field(default_factory=list)
    script: Callable[[Prompt], Said] = act

    def upstream(self) -> Upstream:
        """Return a server for it."""
        return Upstream(self._answer, self.dialect.refuse, self.dialect.is_generation)

    def _answer(self, seen: Seen) -> Reply:
        if not self.dialect.is_generation(seen):
            return self.dialect.serve(seen)
        prompt = self.dialect.read(seen)
        self.prompts.append(prompt)
        return self.dialect.say(seen, self.script(prompt))
