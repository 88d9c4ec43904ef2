"""What a manifest may say about the steps of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from chassis.canonical import Json
from chassis.expressions import EXPRESSION_CHARACTERS_MAX

from .part import Part, seconds_of

# As the runtime has them.
STEPS_MAX = 64
ARGUMENTS_MAX = 64
RETRIES_MAX = 10
BACKOFF_SECONDS_MAX = 3_600
PARALLEL_MAX = 64
REPEATS_MAX = 100
STEP_ID = "^[a-z][a-z0-9_]{0,31}$"


def is_reference(value: Json) -> bool:
    """Tell whether an input is an expression, and not a value."""
    return isinstance(value, Mapping) and list(value) == ["from"] and isinstance(value["from"], str)


def _check_backoff(backoff: str) -> str:
    if backoff and seconds_of(backoff) > BACKOFF_SECONDS_MAX:
        raise PydanticCustomError("OUT_OF_RANGE", "is more than 1h")
    return backoff


class OnFailure(Part):
    """What happens when the action of a step fails."""

    retry: int = Field(
        default=0, ge=0, le=RETRIES_MAX, description="how often it is tried again", examples=[2]
    )
    backoff: Annotated[str, AfterValidator(_check_backoff)] = Field(
        default="",
        pattern="^([1-9][0-9]{0,5}[smh])?$",
        description="how long to wait before the first retry, at most 1h; twice as long each time",
        examples=["10s"],
    )
    then: Literal["stop", "continue", "compensate"] = Field(
        default="stop",
        description="whether the run ends, goes on, or undoes what was done and ends",
        examples=["continue"],
    )
    default: JsonValue = Field(
        default=None, description="the output of the step where the run goes on", examples=[[]]
    )


class Repeat(Part):
    """Until when a step is done again."""

    until: str = Field(
        min_length=1,
        max_length=EXPRESSION_CHARACTERS_MAX,
        description="a condition about the output of the step",
        examples=["steps.fetch.output.done"],
    )
    most: int = Field(ge=1, le=REPEATS_MAX, description="how often at most", examples=[5])


class Undo(Part):
    """What takes back what a step has done."""

    action: str = Field(
        min_length=1,
        max_length=136,
        description="an action of `spec.actions`, as its `use` names it",
        examples=["board.post"],
    )
    arguments: dict[str, JsonValue] = Field(
        default={},
        max_length=ARGUMENTS_MAX,
        alias="with",
        description="its inputs: values, or `from` with an expression",
        examples=[{"id": {"from": "steps.post.output.id"}}],
    )


class Step(Part):
    """One call of an action, or one answer of the model."""

    id: str = Field(
        pattern=STEP_ID, description="its name, of `a-z`, `0-9` and `_`", examples=["fetch"]
    )
    action: str = Field(
        default="",
        max_length=136,
        description="an action of `spec.actions`, as its `use` names it",
        examples=["knowledge.search"],
    )
    model: str = Field(
        default="",
        max_length=65_536,
        description="what the model is told to write, instead of an action",
        examples=["Summarise."],
    )
    arguments: dict[str, JsonValue] = Field(
        default={},
        max_length=ARGUMENTS_MAX,
        alias="with",
        description="its inputs: values, or `from` with an expression",
        examples=[{"query": {"from": "input"}}],
    )
    output: dict[str, JsonValue] | None = Field(
        default=None,
        max_length=64,
        description="what an answer of the model has to fit, the JSON Schema of an object",
        examples=[{"type": "object", "properties": {"title": {"type": "string"}}}],
    )
    when: str = Field(
        default="",
        max_length=EXPRESSION_CHARACTERS_MAX,
        description="a condition without which it is left out",
        examples=["input.urgent"],
    )
    after: list[str] = Field(
        default=[],
        max_length=STEPS_MAX,
        description="steps to wait for, beside those whose outputs it uses",
        examples=[["fetch"]],
    )
    on_failure: OnFailure = Field(
        default=OnFailure(), description="what happens when it fails", examples=[{"retry": 2}]
    )
    each: str = Field(
        default="",
        max_length=EXPRESSION_CHARACTERS_MAX,
        description="a list, for each `item` of which it is done; its output is a list, too",
        examples=["steps.find.output.passages"],
    )
    parallel: int = Field(
        default=8, ge=1, le=PARALLEL_MAX, description="for how many items at once", examples=[4]
    )
    repeat: Repeat | None = Field(
        default=None,
        description="until when it is done again",
        examples=[{"until": "steps.fetch.output.done", "most": 5}],
    )
    undo: Undo | None = Field(
        default=None,
        description="what takes it back, if a later step says `then: compensate`",
        examples=[{"action": "board.post", "with": {"text": "Forget it."}}],
    )


class Workflow(Part):
    """Steps, each of which begins once all that it needs are over, and what the run answers."""

    steps: list[Step] = Field(
        min_length=1,
        max_length=STEPS_MAX,
        description="the steps; one uses only those before it",
        examples=[[{"id": "write", "model": "Write."}]],
    )
    output: str = Field(
        min_length=1,
        max_length=EXPRESSION_CHARACTERS_MAX,
        description="an expression that gives the answer of the run",
        examples=["steps.write.output.text"],
    )
