"""What can be wrong with a manifest, where it is, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

PROBLEMS_MAX = 100


class Severity(Enum):
    """Whether the manifest assembles all the same."""

    WARNING = auto()
    ERROR = auto()


class Code(StrEnum):
    """Every code that a problem can have; they are stable."""

    # The text.
    MALFORMED_TEXT = "MALFORMED_TEXT"  # not UTF-8, or control characters
    MALFORMED_YAML = "MALFORMED_YAML"
    MANIFEST_EMPTY = "MANIFEST_EMPTY"
    MULTIPLE_DOCUMENTS = "MULTIPLE_DOCUMENTS"
    ALIAS_FORBIDDEN = "ALIAS_FORBIDDEN"  # anchors, aliases and merge keys
    TAG_FORBIDDEN = "TAG_FORBIDDEN"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_VALUES = "TOO_MANY_VALUES"
    KEY_INVALID = "KEY_INVALID"  # a key that is not a text
    DUPLICATE_KEY = "DUPLICATE_KEY"
    # The fields.
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    INVALID_VALUE = "INVALID_VALUE"
    OUT_OF_RANGE = "OUT_OF_RANGE"  # also of lengths
    DUPLICATE_ITEM = "DUPLICATE_ITEM"
    CONTRADICTION = "CONTRADICTION"
    NOT_SUPPORTED_YET = "NOT_SUPPORTED_YET"
    # Parameters of a template.
    PLACEHOLDER_INVALID = "PLACEHOLDER_INVALID"
    PARAMETER_UNKNOWN = "PARAMETER_UNKNOWN"
    PARAMETER_MISSING = "PARAMETER_MISSING"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    RENDERED_TOO_LARGE = "RENDERED_TOO_LARGE"
    # What the manifest refers to.
    ACTION_UNKNOWN = "ACTION_UNKNOWN"
    AGENT_NOT_FOUND = "AGENT_NOT_FOUND"
    AGENT_REPEATED = "AGENT_REPEATED"  # an agent that would, in the end, ask itself
    CALLS_TOO_DEEP = "CALLS_TOO_DEEP"
    SETTING_INVALID = "SETTING_INVALID"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    CREDENTIAL_UNUSED = "CREDENTIAL_UNUSED"
    SECRET_NOT_FOUND = "SECRET_NOT_FOUND"  # noqa: S105  # a code
    PATH_FORBIDDEN = "PATH_FORBIDDEN"
    DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
    DOCUMENT_INVALID = "DOCUMENT_INVALID"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    SEGMENT_MISMATCH = "SEGMENT_MISMATCH"
    PROVIDER_NOT_FOUND = "PROVIDER_NOT_FOUND"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_UNUSABLE = "MODEL_UNUSABLE"
    PRICE_NOT_FOUND = "PRICE_NOT_FOUND"
    # The whole.
    BUNDLE_TOO_LARGE = "BUNDLE_TOO_LARGE"
    BUDGET_TIGHT = "BUDGET_TIGHT"  # a warning: less than one step may cost
    PROBLEMS_LEFT_OUT = "PROBLEMS_LEFT_OUT"  # says how many more there are


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `line` and `column` count from 1, and are 0 without a place."""

    severity: Severity
    code: Code
    file: str
    line: int
    column: int
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        """Return it as one line, such as compilers write."""
        where = f"{self.file}:{self.line}:{self.column}"
        return (
            f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"
        )


def shorten(problems: Sequence[Problem], *, count_max: int = PROBLEMS_MAX) -> tuple[Problem, ...]:
    """Return at most so many problems; the last one then says how many were left out."""
    if len(problems) <= count_max:
        return tuple(problems)
    kept = problems[: count_max - 1]
    left_out = Problem(
        severity=Severity.ERROR,
        code=Code.PROBLEMS_LEFT_OUT,
        file=problems[0].file,
        line=0,
        column=0,
        field="",
        message=f"{len(problems) - len(kept)} more problems are not shown",
        fix="Fix these first; ValidateManifest lists more than an error can carry.",
    )
    return (*kept, left_out)


def clip(text: str, *, length_max: int = 60) -> str:
    """Return a text that others wrote, fit to be part of a message in one line."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: length_max + 1])
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
