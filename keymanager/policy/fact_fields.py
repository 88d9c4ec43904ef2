"""Reads what a rule asks of the facts of a use."""

from __future__ import annotations

import re

from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, clip, describe

from .conditions import Absent, Condition, Flag, Number, Range, Text, Under
from .fields import read_integer, read_mapping, read_one_or_more, read_text
from .rule import Verdict

CONDITIONS_MAX = 32
FACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_PATTERN = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")
_FOLDER = re.compile(r"/[^\x00-\x1f\x7f*\\?#%]{0,1023}")
_FORMS = ("at_least", "at_most", "under", "absent")
_FIX = "Write a value, a list of values, or one of at_least and at_most, under, absent."


def read_conditions(
    draft: Draft, path: FieldPath, verdict: Verdict | None
) -> tuple[tuple[str, Condition], ...]:
    """Return the conditions below `when`, in their order."""
    value = read_mapping(draft, path)
    if len(value) > CONDITIONS_MAX:
        message = f"has {len(value)} conditions; at most {CONDITIONS_MAX} are allowed"
        draft.report(path, Flaw.OUT_OF_RANGE, message, fix="Split the rule.")
    found = []
    for name in value:
        inner = (*path, name)
        if not FACT_NAME.fullmatch(name):
            message = f"`{clip(name)}` is no name of a fact"
            fix = "Name a fact such as `host`, `chain_id` or `value`."
            draft.report(inner, Flaw.INVALID_VALUE, message, fix=fix, place=draft.key_place(inner))
        elif condition := _read_condition(draft, inner, verdict):
            found.append((name, condition))
    return tuple(found)


def _read_condition(draft: Draft, path: FieldPath, verdict: Verdict | None) -> Condition | None:
    value = draft.get(path)
    if isinstance(value, dict):
        return _read_form(draft, path, verdict)
    if isinstance(value, bool):
        return Flag(value)
    paths = read_one_or_more(draft, path)
    values = [draft.get(inner) for inner in paths]
    if not paths:
        return None
    if all(type(one) is int for one in values):
        return Number(tuple(one for one in values if isinstance(one, int)))
    if isinstance(values[0], str):
        example = "api.example.com"
        texts = [read_text(draft, inner, _PATTERN, example=example) for inner in paths]
        return Text(tuple(text for text in texts if text is not None))
    message = f"is {describe(value)}; it must be true, false, or texts, or whole numbers"
    draft.report(path, Flaw.WRONG_TYPE, message, fix=_FIX)
    return None


def _read_form(draft: Draft, path: FieldPath, verdict: Verdict | None) -> Condition | None:
    value = read_mapping(draft, path, known=_FORMS)
    forms = {"range" if name.startswith("at_") else name for name in value if name in _FORMS}
    if len(forms) != 1:
        message = "asks for nothing" if not forms else "asks for two things at once"
        code = Flaw.CONTRADICTION if forms else Flaw.MISSING_FIELD
        draft.report(path, code, message, fix=_FIX)
        return None
    if forms == {"range"}:
        return _read_range(draft, path, set(value))
    if forms == {"under"}:
        inner = read_one_or_more(draft, (*path, "under"))
        texts = [read_text(draft, one, _FOLDER, example="/2/tweets") for one in inner]
        return Under(tuple(text for text in texts if text is not None))
    if draft.get((*path, "absent")) is not True:
        message = "must be true"
        fix = "Leave the condition out if the fact may be there or not."
        draft.report((*path, "absent"), Flaw.INVALID_VALUE, message, fix=fix)
    elif verdict in {Verdict.ALLOW, Verdict.ASK}:
        message = "is taken in rules that deny only: what is missing must not open anything"
        fix = "Ask for a value that the fact has, or write a rule that denies."
        draft.report((*path, "absent"), Flaw.CONTRADICTION, message, fix=fix)
    return Absent()


def _read_range(draft: Draft, path: FieldPath, names: set[str]) -> Condition:
    least, most = (
        read_integer(draft, (*path, name)) if name in names else None
        for name in ("at_least", "at_most")
    )
    if least is not None and most is not None and least > most:
        message = f"no number is at least {least} and at most {most}"
        draft.report(path, Flaw.CONTRADICTION, message, fix="Exchange them.")
    return Range(least, most)
