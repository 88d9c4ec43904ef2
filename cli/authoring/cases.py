"""The test of an action as its author writes it: cases, and answers that were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, clip, describe, shorten, suggest
from chassis.source import read_draft
from sandbox.outcome import Described, Reason

from ..errors import CommandError, Problem
from .arguments import check_arguments

TEST_BYTES_MAX = 1024 * 1024
# When cases happen that do not say when.
START = datetime(2026, 1, 1, tzinfo=UTC)

Name = Annotated[str, Field(min_length=1, max_length=128)]
Words = Annotated[str, Field(max_length=4_096)]
Values = dict[str, JsonValue]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def has(self, field: str) -> bool:
        """Tell whether a field is written, were it as null."""
        return field in self.model_fields_set


PartT = TypeVar("PartT", bound=_Part)


class Refusal(_Part):
    """Why a call is not answered."""

    reason: Annotated[
        str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", description="a code such as DENIED")
    ]
    message: Words = ""


class ExpectedCall(_Part):
    """A call that is expected, with the answer that it is given."""

    action: Annotated[Name, Field(description="the action that is called, such as web.get")]
    arguments: Annotated[Values | None, Field(description="all its arguments")] = None
    include: Annotated[Values | None, Field(description="some of its arguments")] = None
    answer: JsonValue = None
    refusal: Refusal | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> ExpectedCall:
        _require_not_both(self, "arguments", "include")
        _require_not_both(self, "answer", "refusal")
        if not self.has("answer") and not self.has("refusal"):
            raise _told("it has neither answer nor refusal", "write what the call is answered")
        return self


class ExpectedError(_Part):
    """How an action is expected to fail."""

    reason: Annotated[str, Field(description="CODE_FAILED for an exception")] = "CODE_FAILED"
    message: Annotated[Words, Field(description="a part of what is said")] = ""

    @model_validator(mode="after")
    def _names_a_reason(self) -> ExpectedError:
        if self.reason not in set(Reason):
            told = f"there is no reason {clip(self.reason)}"
            raise _told(told, suggest(self.reason, Reason))
        return self


class Case(_Part):
    """One call of an action, and everything that is expected of it."""

    name: Annotated[Name, Field(description="a sentence that can be false")]
    action: Annotated[str, Field(max_length=64, description="an action of the file")] = ""
    arguments: Annotated[Values, Field(description="what the action is handed")] = {}
    calls: Annotated[list[ExpectedCall], Field(max_length=64)] = []
    result: JsonValue = None
    error: ExpectedError | None = None
    logs: Annotated[list[Words] | None, Field(max_length=1_000)] = None
    seed: Annotated[int, Field(ge=0, le=2**53 - 1, description="of the dice")] = 1
    now: Annotated[str, Field(description="a moment such as 2026-01-01T12:00Z")] = START.isoformat()

    @model_validator(mode="after")
    def _can_fail(self) -> Case:
        _require_not_both(self, "result", "error")
        if not any(map(self.has, ("result", "error", "logs"))):
            raise _told(
                "it expects nothing, so it cannot fail", "add result, error or logs to the case"
            )
        try:
            time = datetime.fromisoformat(self.now)
        except ValueError:
            time = START.replace(tzinfo=None)
        if time.tzinfo is None:
            raise _told("now is no moment with a zone", "write it as 2026-01-01T12:00Z")
        return self

    @property
    def start(self) -> float:
        """Return when it begins, in seconds since 1970."""
        return datetime.fromisoformat(self.now).timestamp()


class _Cases(_Part):
    cases: Annotated[list[Case], Field(min_length=1, max_length=100, description="the cases")]


class _Answers(_Part):
    calls: Annotated[list[ExpectedCall], Field(max_length=64, description="the calls, in order")]


def read_cases(file: str, content: bytes, actions: Mapping[str, Described]) -> tuple[Case, ...]:
    """Return the cases of a test; raise `CommandError` with all that is wrong with it."""
    draft = read_draft(file, content)
    found = _read(draft, _Cases)
    cases = [_named(draft, index, case, actions) for index, case in enumerate(found.cases)]
    _raise_problems(draft)
    return tuple(cases)


def read_answers(file: str, content: bytes) -> tuple[ExpectedCall, ...]:
    """Return calls with their answers; raise `CommandError` with all that is wrong."""
    return tuple(_read(read_draft(file, content), _Answers).calls)


def _read(draft: Draft, kind: type[PartT]) -> PartT:
    """Return what is right in all its fields; raise `CommandError`."""
    try:
        found = kind.model_validate(draft.value)
    except ValidationError as error:
        if draft.is_readable:
            for details in error.errors(include_url=False):
                _report(draft, kind, details)
        _raise_problems(draft)
        raise
    _raise_problems(draft)
    return found


def _named(draft: Draft, index: int, case: Case, actions: Mapping[str, Described]) -> Case:
    """Return a case with the action that it is about; its arguments are checked."""
    path: FieldPath = ("cases", index)
    name = case.action or (next(iter(actions)) if len(actions) == 1 else "")
    if not name:
        told = "the file has several actions, and the case names none"
        draft.report(path, Flaw.MISSING_FIELD, told, fix=suggest("", actions))
    elif name not in actions:
        told = f"the file has no action `{clip(name)}`"
        fix = suggest(name, actions)
        draft.report((*path, "action"), Flaw.INVALID_VALUE, told, fix=fix)
    else:
        for misfit in check_arguments(actions[name], case.arguments):
            at = (*path, "arguments", *misfit.path)
            place = draft.key_place(at) if misfit.is_key else None
            draft.report(at, misfit.code, misfit.message, fix=misfit.fix, place=place)
    return case.model_copy(update={"action": name})


def _report(draft: Draft, kind: type[_Part], details: ErrorDetails) -> None:
    path: FieldPath = details["loc"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if details["type"] == "extra_forbidden":
        name = clip(str(path[-1]))
        fix = suggest(name, _fields(kind, path[:-1]))
        told = f"there is no field `{name}` here"
        place = draft.key_place(path)
        draft.report(path, Flaw.UNKNOWN_FIELD, told, fix=fix, place=place)
    elif details["type"] == "missing":
        told = f"it lacks `{path[-1]}`"
        draft.report(path, Flaw.MISSING_FIELD, told, fix=_advice(kind, path))
    elif details["type"] == _TOLD:
        draft.report(path, Flaw.INVALID_VALUE, context["message"], fix=context["fix"])
    else:
        wanted = _TYPES.get(details["type"])
        told = f"it must be {wanted}" if wanted else details["msg"]
        code = Flaw.WRONG_TYPE if wanted else Flaw.INVALID_VALUE
        told = f"is {describe(draft.get(path))}; {told}"
        draft.report(path, code, told, fix=_advice(kind, path))


def _fields(kind: type[_Part], path: FieldPath) -> Mapping[str, FieldInfo]:
    """Return the fields of the part that a path leads to."""
    names = [part for part in path if isinstance(part, str)]
    return (_PARTS.get(names[-1], kind) if names else kind).model_fields


def _advice(kind: type[_Part], path: FieldPath) -> str:
    info = _fields(kind, path[:-1]).get(str(path[-1])) if path else None
    return f"write {info.description}" if info and info.description else ""


def _raise_problems(draft: Draft) -> None:
    problems = [
        Problem(**{**vars(one), "severity": one.severity.name.lower()})
        for one in shorten(draft.problems)
    ]
    if problems:
        raise CommandError(
            f"{draft.file} is no test of an action",
            reason="TEST_INVALID",
            fix="docs/actions.md has what can be written",
            problems=problems,
        )


def _require_not_both(part: _Part, one: str, other: str) -> None:
    if part.has(one) and part.has(other):
        raise _told(f"it has both {one} and {other}", "write one of them")


def _told(message: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError(_TOLD, "{message}", {"message": message, "fix": fix})


_TOLD = "told"
# Pydantic's names of what is wrong.
_TYPES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "an integer",
}
# What is below a field of a name.
_PARTS: Mapping[str, type[_Part]] = {
    "cases": Case,
    "calls": ExpectedCall,
    "refusal": Refusal,
    "error": ExpectedError,
}
