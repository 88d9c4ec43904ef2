"""One generation, token by token, on the thread of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import llguidance

from ..conversation import (
    Choice,
    Delta,
    Finished,
    FinishReason,
    Prompt,
    Tokens,
    WrittenCall,
)
from ..errors import SchemaUnsupported
from .draft import Draft
from .grammar import Exits, allowed_tokens, read_calls
from .llama import LlamaModel
from .sampling import Sampler
from .template import CALL_OPENER

# So close to the end of its tokens a generation keeps a way out in mind at every step.
EXIT_TOKENS = 192


class Writing:
    """What a model writes under a grammar, within a number of tokens.

    A call that has begun is completed: near the end of its tokens the model may only write what
    leaves enough of them for the shortest way out. If even that is too long, the generation ends
    before a call has begun, or without the call.
    """

    def __init__(
        self,
        model: LlamaModel,
        exits: Exits,
        matcher: llguidance.LLMatcher,
        *,
        tokens: Sequence[int],
        prompt: Prompt,
    ) -> None:
        sampling = prompt.sampling
        self._model = model
        self._exits = exits
        self._matcher = matcher
        self._tokens = tokens
        self._tokens_left = sampling.tokens_max
        self._tokens_max = sampling.tokens_max
        self._sampler = Sampler(sampling)
        self._offered = ", ".join(action.name for action in prompt.conversation.actions)
        opener = "" if prompt.choice is Choice.NONE else CALL_OPENER
        # An answer that must satisfy a schema is not cut short.
        stops = () if prompt.answer_schema else sampling.stops
        self._draft = Draft(stops, opener=opener)
        self._way_out: list[int] | None = None

    def events(self, is_cancelled: Callable[[], bool]) -> Iterator[Delta | Finished]:
        """Yield deltas and the end, or less if it is cancelled."""
        if not self._model.read(self._tokens, is_cancelled):
            return
        yield Delta("", self._used())
        while not (self._matcher.is_stopped() or self._draft.is_stopped) and self._tokens_left:
            if is_cancelled():
                return
            token = self._next()
            if token is None:
                break
            self._consume(token)
            yield Delta(self._draft.add(self._visible(token)), self._used())
            if self._tokens_left and not self._matcher.is_stopped():
                self._model.write(token)
        rest = self._draft.finish()
        if rest:
            yield Delta(rest, self._used())
        yield self._finished()

    def _next(self) -> int | None:
        """Return the next token, or None if there is no way to go on."""
        allowed = allowed_tokens(self._matcher, len(self._model.pieces))
        if not allowed.any():
            raise self._gave_up()
        token = self._sampler.choose(self._model.logits(), allowed)
        if self._tokens_left > EXIT_TOKENS:
            return token
        if self._way_out is None:
            self._way_out = self._exits.find(self._matcher, self._tokens_left)
            if self._way_out is None:
                return None
        way_out = self._way_out[1:]
        if token not in self._way_out[:1]:
            after = self._matcher.deep_copy()
            after.consume_token(token)
            longer = self._exits.find(after, self._tokens_left - 1)
            if longer is not None:
                way_out = longer
            elif self._way_out:
                token = self._way_out[0]
            else:
                return None
        self._way_out = way_out
        return token

    def _consume(self, token: int) -> None:
        self._tokens_left -= 1
        if not self._matcher.consume_token(token):
            raise self._gave_up()

    def _gave_up(self) -> SchemaUnsupported:
        """Return the error for a schema that compiles, and is too complex all the same."""
        return SchemaUnsupported(
            self._offered, f"its grammar gave up: {self._matcher.stop_reason()}"
        )

    def _visible(self, token: int) -> bytes:
        return b"" if token in self._model.ends else self._model.pieces[token]

    def _used(self) -> Tokens:
        return Tokens(len(self._tokens), self._tokens_max - self._tokens_left)

    def _finished(self) -> Finished:
        if self._matcher.is_error():
            raise self._gave_up()
        text, reason = self._draft.text, FinishReason.STOP
        calls: tuple[WrittenCall, ...] = ()
        if self._draft.is_call:
            calls = read_calls(self._draft.call)
        if calls:
            text, reason = text.rstrip(), FinishReason.ACTION
        elif self._draft.is_call or not (self._matcher.is_stopped() or self._draft.is_stopped):
            reason = FinishReason.LENGTH
        return Finished(reason, text, calls, self._used())
