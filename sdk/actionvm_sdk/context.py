"""What one call of an action may use; all of it goes through the host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias, TypedDict, cast

from .schemas import SchemaError
from .values import to_json

Query: TypeAlias = Mapping[str, str | float | bool]


class CallError(Exception):
    """A call was refused, or failed; `reason` is a code in capitals."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Denied(CallError):
    """The capability was not declared, or not granted, or a rule of the agent forbids this call."""


@dataclass(frozen=True)
class Call:
    """A call of something that was granted, such as `board.post`, with its arguments."""

    action: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Response:
    """What the web answered."""

    status: int
    content_type: str
    url: str
    text: str
    # Whether there was more than the grant lets through.
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Tell whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004  # RFC 9110, section 15.3

    def json(self) -> Any:  # noqa: ANN401  # whatever the service wrote
        """Return the body as JSON; raise `ValueError` if it is not."""
        return json.loads(self.text)


class Host(Protocol):
    """Whoever answers calls: the sandbox, or a test."""

    def ask(self, calls: Sequence[Call]) -> Sequence[Any]:
        """Return for each call its value, or a `CallError`, which is not raised."""

    def log(self, text: str) -> None:
        """Keep a line for whoever reads the run."""

    def now(self) -> float:
        """Return the time in seconds since 1970, in UTC."""


class Http:
    """The web, as far as the grants of `web.get` and `web.send` reach."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(
        self,
        url: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Read an address; needs `web.get`."""
        arguments = _given(url=url, query=query, headers=headers)
        return _response(self._context.call("web.get", **arguments))

    def send(
        self,
        method: str,
        url: str,
        *,
        query: Query | None = None,
        json: object = None,
        text: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send JSON or a text with POST, PUT, PATCH or DELETE; needs `web.send`."""
        arguments = _given(
            method=method,
            url=url,
            query=query,
            json=json,
            text=text,
            content_type=content_type,
            headers=headers,
        )
        return _response(self._context.call("web.send", **arguments))

    def post(
        self,
        url: str,
        *,
        query: Query | None = None,
        json: object = None,
        text: str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send with POST; needs `web.send`."""
        return self.send(
            "POST",
            url,
            query=query,
            json=json,
            text=text,
            content_type=content_type,
            headers=headers,
        )


class Passage(TypedDict):
    """A part of a document that the agent knows."""

    document: str
    text: str


class Knowledge:
    """What the agent knows."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def search(self, query: str) -> list[Passage]:
        """Return the passages that fit best; needs `knowledge.search`."""
        found = self._context.call("knowledge.search", query=query)
        return cast("list[Passage]", found["passages"])


class Service:
    """One service; its methods are the actions of the catalogue that begin with its name."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name

    def __getattr__(self, method: str) -> _Method:
        if method.startswith("__"):
            raise AttributeError(method)
        return _Method(self._context, f"{self._name}.{method}")


class _Method:
    def __init__(self, context: Context, action: str) -> None:
        self._context = context
        self._action = action

    def __call__(self, **arguments: Any) -> Any:  # noqa: ANN401  # the catalogue has their schema
        return self._context.call(self._action, **arguments)


class Context:
    """What one call may use. What was not declared and granted is refused with `Denied`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.http = Http(self)
        self.knowledge = Knowledge(self)

    def service(self, name: str) -> Service:
        """Return a service: `ctx.service("board").post(text="…")` calls `board.post`."""
        return Service(self, name)

    def llm(self, prompt: str, *, tokens_max: int | None = None) -> str:
        """Return what the model of the agent answers; needs `llm.ask`."""
        answer = self.call("llm.ask", **_given(prompt=prompt, tokens_max=tokens_max))
        return cast("str", answer["text"])

    def call(self, action: str, /, **arguments: Any) -> Any:  # noqa: ANN401  # JSON
        """Return what a granted action answers; raise `Denied` or `CallError`."""
        return self.gather(Call(action, arguments))[0]

    def gather(self, *calls: Call, return_exceptions: bool = False) -> list[Any]:
        """Make calls at once; return their answers in the same order.

        The first error is raised once all have ended, unless `return_exceptions` puts each in the
        place of its answer.
        """
        answers = list(self._host.ask([*map(_plain, calls)])) if calls else []
        if not return_exceptions:
            for answer in answers:
                if isinstance(answer, CallError):
                    raise answer
        return answers

    def log(self, *parts: object) -> None:
        """Keep a line for whoever reads the run; `print` does the same."""
        self._host.log(" ".join(map(str, parts)))

    def now(self) -> datetime:
        """Return the time of the last answer, or of the start: it stands still in between."""
        return datetime.fromtimestamp(self._host.now(), UTC)


def _plain(call: Call) -> Call:
    """Return a call with arguments that are JSON."""
    try:
        arguments = {name: to_json(one) for name, one in call.arguments.items()}
    except SchemaError as error:
        raise TypeError(f"an argument of {call.action} {error}") from None
    return Call(call.action, arguments)


def _given(**arguments: object) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _response(answer: Mapping[str, Any]) -> Response:
    text = answer.get("text")
    return Response(
        status=answer["status"],
        content_type=answer.get("content_type", ""),
        url=answer.get("url", ""),
        text=text if isinstance(text, str) else json.dumps(answer.get("json")),
        truncated=bool(answer.get("truncated")),
    )
