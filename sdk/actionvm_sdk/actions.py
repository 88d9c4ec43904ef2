"""Functions that are actions, and how they describe themselves."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from .context import Context
from .schemas import Json, SchemaError, from_json, schema_of, to_json

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

NAME_MAX = 64
DESCRIPTION_MAX = 1_024


class Action(Generic[Parameters, Returned]):
    """A function that an agent may call; calling it here is calling the function."""

    def __init__(
        self,
        function: Callable[Concatenate[Context, Parameters], Returned],
        *,
        name: str,
        capabilities: Sequence[str],
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.capabilities = tuple(capabilities)

    def __call__(
        self, context: Context, *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Returned:
        """Call the function."""
        return self.function(context, *arguments, **named)

    def describe(self) -> dict[str, Any]:
        """Return what the manifest of the artifact says; raise `SchemaError`."""
        properties = {name: self._schema(name, hint) for name, hint in self._hints().items()}
        required = [
            one.name for one in self._parameters() if one.default is inspect.Parameter.empty
        ]
        for one in self._parameters():
            if one.default is not inspect.Parameter.empty:
                properties[one.name]["default"] = to_json(one.default)
        return {
            "name": self.name,
            "description": inspect.getdoc(self.function) or "",
            "capabilities": list(self.capabilities),
            "parameters_schema": {
                "type": "object",
                "properties": properties,
                **({"required": required} if required else {}),
                "additionalProperties": False,
            },
            "output_schema": self._schema("the result", self._all_hints().get("return", Any)),
            "line": self.function.__code__.co_firstlineno,
        }

    def invoke(self, context: Context, arguments: Mapping[str, Any]) -> Json:
        """Call the function with JSON that fits its schema; return JSON."""
        hints = self._hints()
        named = {name: from_json(value, hints.get(name)) for name, value in arguments.items()}
        result: Any = self.function(context, **named)  # type: ignore[call-arg]  # by schema
        if inspect.iscoroutine(result):
            result = _finish(result)
        try:
            return to_json(result)
        except SchemaError as error:
            raise TypeError(f"the result of {self.name} {error}") from None

    def _given(self) -> list[inspect.Parameter]:
        given = [*inspect.signature(self.function).parameters.values()]
        if not given:
            raise SchemaError(f"{self.name} has no parameter for its context, which comes first")
        return given

    def _parameters(self) -> list[inspect.Parameter]:
        _context, *rest = self._given()
        plain = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        for one in rest:
            if one.kind not in plain:
                raise SchemaError(f"parameter {one.name} has no name of its own in JSON")
        return rest

    def _all_hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function, include_extras=True)

    def _hints(self) -> dict[str, Any]:
        hints = self._all_hints()
        return {one.name: hints.get(one.name, Any) for one in self._parameters()}

    def _schema(self, name: str, hint: Any) -> dict[str, Any]:  # noqa: ANN401  # an annotation
        try:
            return schema_of(hint)
        except SchemaError as error:
            raise SchemaError(f"{name} {error}") from None


def action(
    function: Callable[Concatenate[Context, Parameters], Returned] | None = None,
    /,
    *,
    name: str = "",
    capabilities: Sequence[str] = (),
) -> Any:  # noqa: ANN401  # an `Action`, or what makes one
    """Make a function an action: `@action`, or `@action(capabilities=["web.get"])`.

    Its first parameter is the `Context`; the others are what a model hands it, by name.
    """

    def made(
        decorated: Callable[Concatenate[Context, Parameters], Returned],
    ) -> Action[Parameters, Returned]:
        return Action(decorated, name=name, capabilities=capabilities)

    return made(function) if function else made


def _finish(coroutine: Any) -> Any:  # noqa: ANN401  # whatever `async def` gave
    """Bring a coroutine to its end: a host call is the only thing that it can wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("only calls of ctx can be awaited in the sandbox")
