"""The workflow of a bundle: steps that need each other's outputs, in an order without cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, cast

from jsonschema import Draft202012Validator
from jsonschema import ValidationError as SchemaViolation
from pydantic import ConfigDict, Field, JsonValue
from referencing import Registry

from chassis.expressions import (
    EXPRESSION_CHARACTERS_MAX,
    ExpressionInvalid,
    is_true,
    read_expression,
)
from chassis.problems import clip
from chassis.schemas import flaws_of_schema

from .jsontext import read_json, write_json

STEPS_MAX = 64
ARGUMENTS_MAX = 64
RETRIES_MAX = 10
# However often a step has failed, it does not wait longer before it is tried again.
BACKOFF_SECONDS_MAX = 3_600
# Of the list that a step is done for each of, and at once.
ITEMS_MAX = 100
PARALLEL_MAX = 64
REPEATS_MAX = 100
# An argument that is this and nothing else is an expression.
FROM = "from"

_STRICT = ConfigDict(strict=True, extra="forbid")
_StepId = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")]
_Expression = Annotated[str, Field(max_length=EXPRESSION_CHARACTERS_MAX)]


@dataclass(frozen=True)
class FailureAction:
    """What happens when a step fails: it is tried again, then the run ends or goes on."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    retries: Annotated[int, Field(ge=0, le=RETRIES_MAX)] = 0
    continues: bool = False
    # The output of a step that has failed, where the run goes on.
    default: JsonValue = None
    # What was done before is undone, the last first, and then the run ends.
    compensates: bool = False
    # Before the first retry; before each further one it is twice as long.
    backoff_seconds: Annotated[int, Field(ge=0, le=BACKOFF_SECONDS_MAX)] = 0

    def wait_seconds(self, failures: int) -> int:
        """Return how long to wait after so many failures: always the same, so that runs replay."""
        assert failures > 0, "what has not failed is not tried again"
        return int(min(self.backoff_seconds * 2 ** (failures - 1), BACKOFF_SECONDS_MAX))


@dataclass(frozen=True)
class Repeat:
    """A step is done again until a condition holds that looks at its own output."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    until: _Expression
    most: Annotated[int, Field(ge=1, le=REPEATS_MAX)]


@dataclass(frozen=True)
class Undo:
    """The call that takes back what a step has done."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    action: Annotated[str, Field(max_length=64)]
    arguments: Annotated[dict[str, JsonValue], Field(max_length=ARGUMENTS_MAX)] = field(
        default_factory=dict
    )


@dataclass(frozen=True)
class Step:
    """One call of an action, or one answer of the model; exactly one of both is said."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: _StepId
    action: Annotated[str, Field(max_length=64)] = ""
    instructions: Annotated[str, Field(max_length=65_536)] = ""
    arguments: Annotated[dict[str, JsonValue], Field(max_length=ARGUMENTS_MAX)] = field(
        default_factory=dict
    )
    when: _Expression = ""
    after: Annotated[tuple[_StepId, ...], Field(max_length=STEPS_MAX)] = ()
    on_failure: FailureAction = field(default_factory=FailureAction)
    # A list: the step is done for each `item` of it, so many at once.
    each: _Expression = ""
    parallel: Annotated[int, Field(ge=1, le=PARALLEL_MAX)] = 8
    repeat: Repeat | None = None
    undo: Undo | None = None
    # What an answer of the model has to fit; without it, the output is a text.
    output_schema: Annotated[dict[str, JsonValue], Field(max_length=64)] = field(
        default_factory=dict
    )

    @cached_property
    def needs(self) -> frozenset[str]:
        """Return the steps that have to be over before."""
        used = {
            path[1]
            for text in (*self.expressions, *self.later_expressions)
            for path in read_expression(text).paths
            if path[0] == "steps" and len(path) > 1
        }
        return frozenset(self.after) | (used - {self.id})

    @property
    def expressions(self) -> tuple[str, ...]:
        """Return all expressions that it needs before it is done."""
        sources = (source_of(value) for value in self.arguments.values())
        return tuple(one for one in (self.when, self.each, *sources) if one)

    @property
    def later_expressions(self) -> tuple[str, ...]:
        """Return those that look at its own output."""
        undoing = self.undo.arguments.values() if self.undo else ()
        sources = (source_of(value) for value in undoing)
        return tuple(one for one in (self.repeat.until if self.repeat else "", *sources) if one)

    def read_answer(self, text: str) -> tuple[JsonValue, str]:
        """Return the output that an answer of the model is, or why it is none."""
        try:
            value = read_json(text.strip(), is_unique=True)
            violation = next(self._output.iter_errors(value), None)
        except ValueError as error:
            told = f"it is not JSON: {clip(str(error), length_max=200)}"
            return None, told if text else "there is none"
        except RecursionError:
            # Of the words for what does not fit.
            return None, "it is nested too deeply"
        # The words of jsonschema would quote what the model wrote.
        return value, _told(violation) if violation else ""

    @cached_property
    def _output(self) -> Draft202012Validator:
        return Draft202012Validator(self.output_schema, registry=Registry())

    def happens(self, values: JsonValue) -> bool:
        """Tell whether its condition holds."""
        return not self.when or is_true(evaluate(self.when, values))

    def resolve(self, values: JsonValue) -> dict[str, JsonValue]:
        """Return its arguments."""
        return resolve(self.arguments, values)


@dataclass(frozen=True)
class Workflow:
    """Steps, each of which needs only earlier ones, and what the run answers."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=STEPS_MAX)]
    output: _Expression

    @property
    def generations_max(self) -> int:
        """Return how often the model is asked at most."""
        return sum(one.on_failure.retries + 1 for one in self.steps if one.instructions)


def _told(violation: SchemaViolation) -> str:
    # A part of a schema, which is JSON.
    wanted = clip(write_json(cast("JsonValue", violation.validator_value)), length_max=100)
    return f"{violation.json_path} does not keep to `{violation.validator}: {wanted}`"


def evaluate(text: str, values: JsonValue) -> JsonValue:
    """Return what an expression is of values."""
    # The same type, as pydantic names it.
    return cast("JsonValue", read_expression(text).of(values))


def resolve(arguments: Mapping[str, JsonValue], values: JsonValue) -> dict[str, JsonValue]:
    """Return arguments with what their expressions are of values."""
    return {
        name: evaluate(text, values) if (text := source_of(value)) else value
        for name, value in arguments.items()
    }


def source_of(argument: JsonValue) -> str:
    """Return the expression that an argument is; empty if it is a value by itself."""
    if isinstance(argument, Mapping) and list(argument) == [FROM]:
        text = argument[FROM]
        return text if isinstance(text, str) else ""
    return ""


def problem_of(workflow: Workflow, *, actions: frozenset[str], generations_max: int) -> str:
    """Return what is wrong with a workflow; empty if nothing is."""
    known: set[str] = set()
    try:
        for step in workflow.steps:
            told = _problem_of(step, known, actions)
            if told:
                return f"step {step.id}: {told}"
            known.add(step.id)
        read_expression(workflow.output)
        _require_paths((workflow.output,), known, ())
    except ExpressionInvalid as error:
        return str(error)
    if workflow.generations_max > generations_max:
        return "it asks the model more often than limits.steps allows"
    return ""


def _problem_of(step: Step, known: set[str], actions: frozenset[str]) -> str:
    if step.id in known:
        return "another step has its id"
    if bool(step.action) == bool(step.instructions):
        return "it needs either an action or instructions"
    if step.action and step.action not in actions:
        return "it calls what is not an action of the agent"
    if step.undo and step.undo.action not in actions:
        return "what undoes it is not an action of the agent"
    if told := _problem_of_shape(step):
        return told
    items = ("item", "index") if step.each else ()
    _require_paths((step.when, step.each), known, ())
    _require_paths(step.expressions, known, items)
    _require_paths(step.later_expressions, known | {step.id}, items)
    later = sorted(set(step.after) - known)
    return f"there is no earlier step {later[0]}" if later else ""


def _problem_of_shape(step: Step) -> str:
    if step.instructions and (step.each or step.repeat or step.undo):
        return "only actions are repeated, undone or done for each"
    if step.instructions and step.on_failure != FailureAction() and not step.output_schema:
        return "only actions, and answers with a schema, have a failure action"
    if step.instructions and step.on_failure.backoff_seconds:
        return "an answer that does not fit is asked for again at once"
    if step.output_schema and (told := _problem_of_schema(step)):
        return told
    if step.each and step.undo:
        return "what is done for each is not undone; call an agent that undoes its own steps"
    if step.on_failure.continues and step.on_failure.compensates:
        return "it either goes on or undoes"
    return ""


def _problem_of_schema(step: Step) -> str:
    if not step.instructions:
        return "only answers of the model have a schema"
    if step.output_schema.get("type") != "object":
        return "its output is no object"
    flaw = next(iter(flaws_of_schema(step.output_schema)), None)
    return f"output.{'.'.join(map(str, flaw.path))}: {flaw.message}" if flaw else ""


def _require_paths(expressions: tuple[str, ...], known: set[str], more: tuple[str, ...]) -> None:
    for text in filter(None, expressions):
        for path in read_expression(text).paths:
            if path[0] in ("input", *more):
                continue
            if path[0] != "steps" or path[2:3] != ("output",):
                raise ExpressionInvalid(f"{text} is not about input or steps.ID.output")
            if path[1] not in known:
                raise ExpressionInvalid(f"{text}: there is no earlier step {path[1]}")
