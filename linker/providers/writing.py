"""The text of one generation, as it grows token by token."""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from typing import Protocol

import llguidance
import numpy as np

from ..conversation import (
    Choice,
    Finished,
    FinishReason,
    Logprobs,
    Prompt,
    TokenLogprob,
    Tokens,
    WrittenCall,
)
from ..errors import SchemaUnsupported
from .draft import Draft
from .grammar import Exits, read_calls
from .sampling import Bits, Sampler, Scores, largest_of
from .speculation import Lookup
from .template import CALL_OPENER

# So close to the end of its tokens a generation keeps a way out in mind at every step.
EXIT_TOKENS = 192


class Vocabulary(Protocol):
    """The bytes of each token, and those tokens that end a turn."""

    @property
    def pieces(self) -> Sequence[bytes]: ...

    @property
    def ends(self) -> Container[int]: ...


class Writing:
    """What a model writes under a grammar, within a number of tokens.

    A call that has begun is completed: near the end of its tokens the model may only write what
    leaves enough of them for the shortest way out. If even that is too long, the generation ends
    before a call has begun, or without the call.

    `begin` comes first. Then, for every token that is chosen, `mask` says what may follow, which
    can be found out on another thread, and `choose` takes one of that.
    """

    def __init__(
        self,
        model: Vocabulary,
        exits: Exits,
        matcher: llguidance.LLMatcher,
        *,
        prompt: Prompt,
        forces: bool = True,
        guesses: bool = True,
    ) -> None:
        sampling = prompt.sampling
        self._model = model
        self._exits = exits
        self._matcher = matcher
        # What is forced was never chosen, so nothing is known of its likelihood.
        self._forces = forces and not sampling.logprobs
        self._tokens_max = self.tokens_left = sampling.tokens_max
        self._sampler = Sampler(sampling)
        self._offered = ", ".join(action.name for action in prompt.conversation.actions)
        opener = "" if prompt.choice is Choice.NONE else CALL_OPENER
        # An answer that must satisfy a schema is not cut short.
        stops = () if prompt.answer_schema else sampling.stops
        self._draft = Draft(stops, opener=opener)
        self._way_out: list[int] | None = None
        self._logprobs_count = sampling.logprobs
        self._logprobs: list[Logprobs] = []
        self._shown: list[str] = []
        self.is_finished = False
        self.forced_count = 0
        self._guesses = guesses
        self._lookup: Lookup | None = None

    @property
    def written_count(self) -> int:
        """Return how many tokens were written."""
        return self._tokens_max - self.tokens_left

    def begin(self, prompt_tokens: Sequence[int]) -> list[int]:
        """Return the tokens that every answer begins with; the writing may be finished already."""
        if self._guesses:
            self._lookup = Lookup(prompt_tokens)
        if self.tokens_left <= EXIT_TOKENS:
            self._way_out = self._exits.find(self._matcher, self.tokens_left)
            if self._way_out is None:
                self.is_finished = True
                return []
        return self._force()

    def guess(self, length_max: int, *, right_min: float) -> list[int]:
        """Return tokens that may well follow, and that the grammar allows; see `Lookup`."""
        if self._lookup is None:
            return []
        # The last token is chosen, not guessed: so there is always one to choose.
        guess = self._lookup.guess(min(length_max, self.tokens_left - 1), right_min=right_min)
        # A grammar that has taken an end rolls back one token too many.
        guess = [*itertools.takewhile(lambda token: token not in self._model.ends, guess)]
        return guess[: self._matcher.validate_tokens(guess)] if guess else guess

    def learn(self, *, guessed: int, right: int) -> None:
        """Take notice of how much of a guess was right."""
        assert self._lookup is not None, "somebody guessed"
        self._lookup.learn(guessed=guessed, right=right)

    def mask(self, bits: Bits, guess: Sequence[int]) -> None:
        """Write what may follow now, and after each token of a guess, one row each."""
        matcher, size = self._matcher, bits.shape[1] * bits.itemsize
        address = bits.ctypes.data
        matcher.unsafe_compute_mask_ptr(address, size)
        for place, token in enumerate(guess, 1):
            matcher.consume_token(token)
            matcher.unsafe_compute_mask_ptr(address + place * size, size)
        if guess:
            matcher.rollback(len(guess))

    def choose(self, scores: Scores, allowed: Bits) -> list[int]:
        """Choose a token, and return it with those that it forces; none if the text has ended."""
        token = self._sampler.choose(scores, allowed)
        if not allowed[token >> 5] >> (token & 31) & 1:
            # Nothing is.
            raise self._gave_up()
        if self.tokens_left <= EXIT_TOKENS:
            token = self._take_with_way_out(token)
            if token < 0:
                self.is_finished = True
                return []
        elif not self._matcher.consume_token(token):
            raise self._gave_up()
        if self._logprobs_count and not self._draft.is_call and token not in self._model.ends:
            self._logprobs.append(self._tell(scores, token))
        self._add(token)
        return [token, *self._force()]

    def shown(self) -> str:
        """Return what can be shown since this was asked last."""
        if self.is_finished:
            self._shown.append(self._draft.finish())
        text = "".join(self._shown)
        self._shown.clear()
        return text

    def finish(self, tokens: Tokens) -> Finished:
        """Return the whole answer."""
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
        return Finished(reason, text, calls, tokens, logprobs=tuple(self._logprobs))

    def _take_with_way_out(self, token: int) -> int:
        """Let the grammar take a token that leaves a way out, this one if it does.

        Return which one it was; -1 if none does.
        """
        matcher, known = self._matcher, self._way_out
        if known is None:
            known = self._exits.find(matcher, self.tokens_left)
            if known is None:
                return -1
        if known and token == known[0]:
            way_out: list[int] | None = known[1:]
            is_taken = matcher.consume_token(token)
        else:
            is_taken = matcher.consume_token(token)
            if is_taken and (matcher.is_accepting() or matcher.is_stopped()):
                way_out = []
            else:
                way_out = self._exits.find(matcher, self.tokens_left - 1)
            if way_out is None:
                matcher.rollback(1)
                if not known:
                    return -1
                token, way_out = known[0], known[1:]
                is_taken = matcher.consume_token(token)
        if not is_taken:
            raise self._gave_up()
        self._way_out = way_out
        return token

    def _add(self, token: int) -> None:
        self.tokens_left -= 1
        self._sampler.note(token)
        if self._lookup is not None:
            self._lookup.add(token)
        piece = b"" if token in self._model.ends else self._model.pieces[token]
        self._shown.append(self._draft.add(piece))
        self.is_finished = (
            not self.tokens_left or self._draft.is_stopped or self._matcher.is_stopped()
        )

    def _force(self) -> list[int]:
        """Take the tokens to which there is no alternative."""
        if not self._forces or self.is_finished:
            return []
        forced = self._matcher.compute_ff_tokens()[: self.tokens_left]
        if not forced:
            return forced
        if not self._matcher.consume_tokens(forced):
            raise self._gave_up()
        for count, token in enumerate(forced, 1):
            self._add(token)
            if self._draft.is_stopped:
                forced = forced[:count]
                break
        self.forced_count += len(forced)
        # The shortest way out begins with what is forced, in the same tokens.
        self._way_out = self._way_out and self._way_out[len(forced) :]
        return forced

    def _tell(self, scores: Scores, token: int) -> Logprobs:
        """Return what the model thought of all tokens, whatever the grammar and the dice did."""
        largest = float(scores.max())
        total = largest + float(np.log(np.exp(scores - largest).sum(dtype=np.float64)))

        def logprob(token: int) -> TokenLogprob:
            text = self._model.pieces[token].decode("utf-8", "replace")
            return TokenLogprob(text, float(scores[token]) - total)

        likeliest = largest_of(scores, self._logprobs_count)
        return Logprobs(logprob(token), tuple(logprob(int(other)) for other in likeliest))

    def _gave_up(self) -> SchemaUnsupported:
        """Return the error for a schema that compiles, and is too complex all the same."""
        return SchemaUnsupported(
            self._offered, f"its grammar gave up: {self._matcher.stop_reason()}"
        )
