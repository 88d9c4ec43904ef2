"""What can be wrong with a manifest beyond what can be wrong with any document."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The codes of problems that only a manifest can have, beside `Flaw`; they are stable."""

    MANIFEST_EMPTY = "MANIFEST_EMPTY"
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
    CREDENTIAL_REFUSED = "CREDENTIAL_REFUSED"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PRICE_NOT_FOUND = "PRICE_NOT_FOUND"
    # The code of an action.
    CODE_NOT_FOUND = "CODE_NOT_FOUND"
    CODE_MALFORMED = "CODE_MALFORMED"  # not UTF-8, or a package that nothing could import
    CODE_TOO_LARGE = "CODE_TOO_LARGE"
    SYNTAX_INVALID = "SYNTAX_INVALID"
    TYPE_NOT_JSON = "TYPE_NOT_JSON"  # of what it takes or gives
    CODE_FAILED = "CODE_FAILED"  # while it was loaded
    IMPORT_NOT_FOUND = "IMPORT_NOT_FOUND"
    FUNCTION_NOT_FOUND = "FUNCTION_NOT_FOUND"
    GRANT_MISSING = "GRANT_MISSING"  # of what the code declares
    GRANT_UNUSED = "GRANT_UNUSED"  # a warning: the code does not declare it
    # The policy of an action.
    POLICY_FIELD_UNKNOWN = "POLICY_FIELD_UNKNOWN"
    POLICY_FIELD_UNFIT = "POLICY_FIELD_UNFIT"  # of a type that the rule is not about
    POLICY_FIELD_OPTIONAL = "POLICY_FIELD_OPTIONAL"  # a warning: what lacks it has broken the rule
    POLICY_UNREACHABLE = "POLICY_UNREACHABLE"  # a rule, or a part of one, that never decides
    # The steps of a workflow.
    STEP_EMPTY = "STEP_EMPTY"  # neither an action nor the model, or both
    STEP_NOT_FOUND = "STEP_NOT_FOUND"
    STEP_CYCLE = "STEP_CYCLE"  # it needs itself, or a later one
    STEP_ARGUMENT = "STEP_ARGUMENT"  # not what the action takes
    STEP_NEVER = "STEP_NEVER"  # its condition cannot hold
    STEP_OUTPUT = "STEP_OUTPUT"  # has never what is used of it
    SCHEMA_INVALID = "SCHEMA_INVALID"  # of an output: not of the part of JSON Schema that is taken
    STEP_LATE = "STEP_LATE"  # a warning: its last retry comes after the end of the run
    EXPRESSION_INVALID = "EXPRESSION_INVALID"
    # The whole.
    BUNDLE_TOO_LARGE = "BUNDLE_TOO_LARGE"
    BUDGET_TIGHT = "BUDGET_TIGHT"  # a warning: less than one step may cost
