"""Checks what an answer of the model has to fit, where a step says that."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.canonical import canonical_json
from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw
from chassis.schemas import flaws_of_schema

from .problems import Code

# As the linker has it.
SCHEMA_BYTES_MAX = 16 * 1024


def check_output(draft: Draft, step: FieldPath) -> None:
    """Report what is wrong with the `output` of a step."""
    path = (*step, "output")
    schema = draft.get(path)
    if not isinstance(schema, Mapping):
        return  # there is none, or it was reported with the structure of the manifest
    if draft.text((*step, "action")):
        message = "only an answer of the model is told what to fit"
        fix = "Remove it: the catalogue says what an action gives."
        draft.report(path, Flaw.CONTRADICTION, message, fix=fix, place=draft.key_place(path))
        return
    if schema.get("type") != "object":
        message, fix = "is not the schema of an object", "Write `type: object`, with `properties`."
        draft.report((*path, "type"), Code.SCHEMA_INVALID, message, fix=fix)
        return
    flaws = flaws_of_schema(schema)
    for flaw in flaws:
        draft.report((*path, *flaw.path), Code.SCHEMA_INVALID, flaw.message, fix=flaw.fix)
    # What has no flaws can be written.
    if not flaws and len(canonical_json(schema)) > SCHEMA_BYTES_MAX:
        message, fix = f"has more than {SCHEMA_BYTES_MAX} bytes", "Shorten its descriptions."
        draft.report(path, Code.SCHEMA_INVALID, message, fix=fix)
