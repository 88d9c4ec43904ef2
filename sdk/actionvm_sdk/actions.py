"""Functions that are actions, and how they describe themselves."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

from .context import Context
from .schemas import SchemaError, hints_of, schema_of
from .values import Json, fits, from_json, to_json

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
# A text is a sequence of texts as well, and never meant.
Capabilities: TypeAlias = list[str] | tuple[str, ...]

DESCRIPTION_MAX = 1_024
CAPABILITIES_MAX = 64
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_CAPABILITY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}")
_POSITIONAL = frozenset(
    {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
)
_NAMED = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})


class Action(Generic[Parameters, Returned]):
    """A function that an agent may call; calling it here is calling the function."""

    def __init__(
        self,
        function: Callable[Concatenate[Context, Parameters], Returned],
        *,
        name: str,
        capabilities: Capabilities,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._code = _code_of(function)
        self.name = name or function.__name__
        self.capabilities = tuple(capabilities)

    def __call__(
        self, context: Context, *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Returned:
        """Call the function."""
        return self.function(context, *arguments, **named)

    @property
    def file(self) -> str:
        """Return where the function was written."""
        return self._code.co_filename

    @property
    def line(self) -> int:
        """Return the first line of the function, which is that of its decorator."""
        return self._code.co_firstlineno

    def describe(self) -> dict[str, Any]:
        """Return what the manifest of the artifact says; raise `SchemaError`."""
        if not _NAME.fullmatch(self.name):
            raise SchemaError(
                f"the name {self.name[:80]!r} is not letters, digits and _; at most 64"
            )
        description = inspect.getdoc(self.function) or ""
        if len(description) > DESCRIPTION_MAX:
            told = f"the docstring of {self.name} has {len(description)} characters"
            raise SchemaError(f"{told}; at most {DESCRIPTION_MAX} are told to a model")
        parameters = self._parameters()
        hints = self._hints()
        properties = {one.name: _property(one, hints.get(one.name, Any)) for one in parameters}
        required = [one.name for one in parameters if one.default is inspect.Parameter.empty]
        return {
            "name": self.name,
            "description": description,
            "capabilities": list(self.capabilities),
            "parameters_schema": {
                "type": "object",
                "properties": properties,
                **({"required": required} if required else {}),
                "additionalProperties": False,
            },
            "output_schema": _schema("the result", hints.get("return", Any)),
            "line": self.line,
        }

    def invoke(self, context: Context, arguments: Mapping[str, Any]) -> Json:
        """Call the function with JSON that fits its schema; return JSON."""
        hints = self._hints()
        named = {name: _value(name, one, hints.get(name, Any)) for name, one in arguments.items()}
        result: Any = self.function(context, **named)  # type: ignore[call-arg]  # by schema
        if inspect.iscoroutine(result):
            result = _finish(result)
        try:
            return to_json(result)
        except SchemaError as error:
            raise TypeError(f"the result of {self.name} {error}") from None

    def _parameters(self) -> list[inspect.Parameter]:
        given = [*inspect.signature(self.function).parameters.values()]
        if not given or given[0].kind not in _POSITIONAL:
            raise SchemaError(f"{self.name} has no parameter for its context, which comes first")
        for one in given[1:]:
            if one.kind not in _NAMED:
                raise SchemaError(f"parameter {one.name} has no name of its own in JSON")
        return given[1:]

    def _hints(self) -> dict[str, Any]:
        try:
            return hints_of(self.function)
        except SchemaError as error:
            raise SchemaError(f"{self.name} {error}") from None


@overload
def action(
    function: Callable[Concatenate[Context, Parameters], Returned], /
) -> Action[Parameters, Returned]: ...


@overload
def action(
    *, name: str = "", capabilities: Capabilities = ()
) -> Callable[
    [Callable[Concatenate[Context, Parameters], Returned]], Action[Parameters, Returned]
]: ...


def action(
    function: Callable[Concatenate[Context, Parameters], Returned] | None = None,
    /,
    *,
    name: str = "",
    capabilities: Capabilities = (),
) -> (
    Action[Parameters, Returned]
    | Callable[[Callable[Concatenate[Context, Parameters], Returned]], Action[Parameters, Returned]]
):
    """Make a function an action: `@action`, or `@action(capabilities=["web.get"])`.

    Its first parameter is the `Context`; the others are what a model hands it, by name.
    """
    _require_capabilities(capabilities)

    def made(
        decorated: Callable[Concatenate[Context, Parameters], Returned],
    ) -> Action[Parameters, Returned]:
        if not inspect.isfunction(inspect.unwrap(decorated)):
            raise TypeError('@action is for functions: @action(capabilities=["web.get"])')
        return Action(decorated, name=name, capabilities=capabilities)

    return made if function is None else made(function)


def _code_of(function: Callable[..., Any]) -> types.CodeType:
    plain = inspect.unwrap(function)
    assert inspect.isfunction(plain), "the decorator has looked"
    return plain.__code__


def _require_capabilities(capabilities: object) -> None:
    if not isinstance(capabilities, list | tuple):
        raise TypeError('capabilities is a list, such as ["web.get"]')
    if len(capabilities) > CAPABILITIES_MAX:
        raise ValueError(f"more than {CAPABILITIES_MAX} capabilities")
    for one in capabilities:
        if not isinstance(one, str) or not _CAPABILITY.fullmatch(one):
            raise ValueError(f"{one!r} is no capability; one looks like web.get")


def _property(parameter: inspect.Parameter, hint: Any) -> dict[str, Any]:  # noqa: ANN401  # an annotation
    schema = _schema(parameter.name, hint)
    if parameter.default is inspect.Parameter.empty:
        return schema
    try:
        default = to_json(parameter.default)
    except SchemaError as error:
        raise SchemaError(f"{parameter.name} has a default that {error}") from None
    if not fits(default, hint):
        raise SchemaError(f"{parameter.name} has a default that is not of its type")
    return {**schema, "default": default}


def _schema(name: str, hint: Any) -> dict[str, Any]:  # noqa: ANN401  # an annotation
    try:
        return schema_of(hint)
    except SchemaError as error:
        raise SchemaError(f"{name} {error}") from None


def _value(name: str, value: object, hint: Any) -> Any:  # noqa: ANN401  # by annotation
    try:
        return from_json(value, hint)
    except SchemaError as error:
        raise ValueError(f"{name} {error}") from None


def _finish(coroutine: Any) -> Any:  # noqa: ANN401  # whatever `async def` gave
    """Bring a coroutine to its end: a host call is the only thing that it can wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("only calls of ctx can be awaited in the sandbox")
