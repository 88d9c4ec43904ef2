"""What all remote providers need: names that they take, answers in pieces, reasons of failure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

from chassis.canonical import Json
from chassis.errors import ServiceError

from ..conversation import (
    Delta,
    Finished,
    FinishReason,
    Logprobs,
    Prompt,
    Tokens,
    WrittenCall,
)
from ..errors import (
    ContextExceeded,
    CredentialRefused,
    ModelNotFound,
    ModelRefused,
    ProviderUnavailable,
    RateLimited,
)
from ..ports import Key
from ..tokens import count_at_most

# How much of what a provider says about an error is passed on.
PROBLEM_CHARACTERS_MAX = 300
# A guess, for what was used of a model that broke off before it said so.
BYTES_PER_TOKEN = 4
# Far more than the most tokens that may be asked for have.
ANSWER_CHARACTERS_MAX = 4 * 1024 * 1024

# Sets of actions that are kept as a provider wants them.
TOOLS_KNOWN_MAX = 256

_DOT = re.compile(r"\.([a-y])?")
_UPPER = re.compile(r"[A-Z]")
_NUMBER = re.compile(r"\d[\d,]*")
# In the words of OpenAI, vLLM, Anthropic, Gemini, llama-server and SageMaker's containers.
_TOO_LONG = re.compile(
    r"context[ _]?(?:length|size|window|limit)|(?:prompt|input|messages?)\b.{0,40}too long"
    r"|maximum.{0,40}\btokens|input token count|exceeds? the (?:available )?context",
    re.IGNORECASE,
)
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


def to_wire(action: str) -> str:
    """Return an action's name without dots, which most providers do not take: `boardPost`.

    Names of actions have no capitals, so every name has a form of its own, which is no longer.
    """
    return _DOT.sub(lambda dot: dot[1].upper() if dot[1] else "Z", action)


def from_wire(name: str) -> str:
    """Return the name of an action that was sent as `name`."""
    return _UPPER.sub(lambda upper: "." if upper[0] == "Z" else f".{upper[0].lower()}", name)


class Hidden(str):
    """A text that whatever holds it does not show: packages log the headers that they send."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return what may be shown."""
        return "[key]"


async def secret_of(key: Key | None) -> str:
    """Return the value of a key, for one request; empty if there is none."""
    return "" if key is None else await key.value()


def is_strict(schema: Json) -> bool:
    """Tell whether providers can hold a model to a schema: objects have all of their properties."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        if not isinstance(properties, Mapping) or schema.get("additionalProperties") is not False:
            return False
        required = schema.get("required", [])
        if not isinstance(required, list) or {*properties} != {*map(str, required)}:
            return False
        rest = [*properties.values(), *(v for k, v in schema.items() if k != "properties")]
        return all(is_strict(part) for part in rest)
    return all(is_strict(part) for part in schema.values())


def check_images(model: str, prompt: Prompt, *, takes_images: bool) -> None:
    """Raise `ModelRefused` if a model is shown what it cannot see."""
    if not takes_images and any(message.images for message in prompt.conversation.messages):
        raise ModelRefused(model, "it reads no images; link a model that does")


@dataclass
class Answer:
    """What has arrived of an answer, and what it used: guessed until the provider tells.

    `reason` is None until the provider says that it is done.
    """

    prompt: Prompt
    tokens: Tokens = field(default_factory=Tokens)
    reason: FinishReason | None = None
    logprobs: list[Logprobs] = field(default_factory=list)
    _characters: int = 0
    _texts: list[str] = field(default_factory=list)
    _reasonings: list[str] = field(default_factory=list)
    _names: dict[int | str, str] = field(default_factory=dict)
    _arguments: dict[int | str, str] = field(default_factory=dict)

    @property
    def places(self) -> Collection[int | str]:
        """Return where calls are."""
        return self._names.keys()

    def start(self, tokens: Tokens | None = None) -> Delta:
        """Return the first delta: the model has read the prompt."""
        guess = count_at_most(self.prompt.conversation).amount // BYTES_PER_TOKEN
        self.tokens = tokens or Tokens(input=guess)
        return Delta("", self.tokens)

    def add(self, text: str, reasoning: str = "") -> Delta:
        """Return a delta; a piece has at least one token."""
        self.tokens = self.tokens.plus(output=bool(text), reasoning=bool(reasoning))
        self._grow(text + reasoning)
        self._texts.append(text)
        self._reasonings.append(reasoning)
        return Delta(text, self.tokens, reasoning)

    def add_call(self, place: int | str, name: str | None = None, arguments: str = "") -> Delta:
        """Take a piece of a call; `place` tells calls apart."""
        self._grow(arguments)
        if name:
            self._names[place] = name
        self._arguments[place] = self._arguments.get(place, "") + arguments
        self.tokens = self.tokens.plus(output=1)
        return Delta("", self.tokens)

    def _grow(self, piece: str) -> None:
        self._characters += len(piece)
        if self._characters > ANSWER_CHARACTERS_MAX:
            raise FailureTold(Failure("it does not stop", 500))

    def finish(self, model: str) -> Finished:
        """Return the end. Of an answer that was cut, only calls that were completed are kept.

        Raises `ProviderUnavailable` if the provider did not say that this is the end.
        """
        reason = self.reason
        if reason is None:
            raise ProviderUnavailable(model, "it broke off before the end")
        calls = [
            WrittenCall(from_wire(name), self._arguments.get(place) or "{}")
            for place, name in self._names.items()
        ]
        if reason in (FinishReason.LENGTH, FinishReason.FILTERED):
            calls = [call for call in calls if _is_whole(call.arguments)]
        elif calls:
            # Some servers call and say "stop".
            reason = FinishReason.ACTION
        return Finished(
            reason,
            "".join(self._texts),
            tuple(calls[: self.prompt.calls_max]),
            self.tokens,
            "".join(self._reasonings),
            tuple(self.logprobs),
        )


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (RecursionError, ValueError):
        return False


@dataclass(frozen=True)
class Failure:
    """What a provider said in place of an answer; status 0 if it said nothing of HTTP.

    `code` is its own word for the problem, `context_tokens` what is known of the model's context.
    """

    text: str
    status: int = 0
    code: str = ""
    retry_after_seconds: float = 0.0

    def error(
        self, model: str, *, secret: str = "", prompt: Prompt | None = None, context_tokens: int = 0
    ) -> ServiceError:
        """Return the error of the linker's vocabulary. The secret is taken out of the text."""
        text = self.text.replace(secret, "[key]") if secret else self.text
        problem = " ".join(text.split())[:PROBLEM_CHARACTERS_MAX] or f"status {self.status}"
        retry = self.retry_after_seconds
        said = f"{self.code} {problem}"
        if self.status in (401, 403) or any(word in said for word in _SPENT):
            return CredentialRefused(model, problem)
        if self.status == 404:  # noqa: PLR2004  # not found
            return ModelNotFound(model)
        if self.status == 429 or "rate_limit" in self.code:  # noqa: PLR2004  # too many requests
            return RateLimited(model, problem, retry)
        if self.status in (0, 400, 413, 422) and prompt is not None and _TOO_LONG.search(said):
            return _context_exceeded(problem, prompt, context_tokens)
        if self.status in (0, 408) or self.status >= 500:  # noqa: PLR2004  # its own faults
            return ProviderUnavailable(model, problem, retry)
        return ModelRefused(model, problem)


class FailureTold(Exception):
    """A failure in the middle of an answer that went well until then."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


# What reading an answer raises that is not what the provider's package takes it for.
MALFORMED = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)


@contextmanager
def translated(
    model: str,
    failure_of: Callable[[Exception], Failure | None],
    *,
    secret: str,
    prompt: Prompt | None = None,
    context_tokens: int = 0,
) -> Iterator[None]:
    """Turn what a provider's package raises into errors of the linker, without the secret."""
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        failure = error.failure if isinstance(error, FailureTold) else failure_of(error)
        if failure is None:
            if not isinstance(error, MALFORMED):
                raise
            failure = Failure(f"it says what nobody understands: {type(error).__name__}")
        # What the package raised holds the request, and may quote the secret: it ends here.
        raise failure.error(
            model, secret=secret, prompt=prompt, context_tokens=context_tokens
        ) from None


def _context_exceeded(problem: str, prompt: Prompt, context_tokens: int) -> ContextExceeded:
    """Return the error, with the size of the input if the provider told it."""
    numbers = [int(number.replace(",", "")) for number in _NUMBER.findall(problem)]
    inputs = [number for number in numbers if number != context_tokens]
    return ContextExceeded(max(inputs, default=0), prompt.sampling.tokens_max, context_tokens)


def failure_of_status(error: Exception) -> Failure:
    """Return what the packages of OpenAI and Anthropic, which are made alike, say of an error."""
    body = getattr(error, "body", None)
    said = body if isinstance(body, Mapping) else {}
    response = getattr(error, "response", None)
    failure = failure_said(said, getattr(error, "status_code", 0), type(error).__name__)
    if response is None:
        return failure
    return replace(failure, retry_after_seconds=retry_after_seconds(response.headers))


def failure_said(body: object, status: int = 0, otherwise: str = "") -> Failure:
    """Return what an error of JSON means, where OpenAI's form and those like it are."""
    said = body.get("error", body) if isinstance(body, Mapping) else body
    said = said if isinstance(said, Mapping) else {"message": said}
    code = said.get("code") if isinstance(said.get("code"), str) else said.get("type")
    return Failure(f"{said.get('message') or otherwise}", status, f"{code or ''}")


def unit(vector: Sequence[float]) -> tuple[float, ...]:
    """Return a vector of length 1 that points where another one does."""
    length = math.sqrt(math.fsum(value * value for value in vector)) or 1.0
    return tuple(value / length for value in vector)


def retry_after_seconds(headers: Mapping[str, str]) -> float:
    """Return what `Retry-After` says, in any of its forms; 0 if nothing.

    A date counts from the `Date` of the same answer, whatever the time is here.
    """
    for name, unit in (("retry-after-ms", 1_000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers.get(name, "")) / unit)
        except ValueError:
            continue
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (ValueError, TypeError):
        return 0.0
