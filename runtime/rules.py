"""The rules of an action: each says what it minds about a call; what is missing opens nothing.

A rule only ever tightens: what it does not mind is decided by the others. A call of which a rule
cannot tell whether it is broken has broken it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field

from chassis.canonical import sha256_hex
from chassis.clock import is_time_zone
from chassis.glob import Glob
from chassis.hours import MINUTES_PER_DAY, Hours
from chassis.periods import period_start

from .amounts import AMOUNT_PATTERN, Fractional, amount_text, read_amount
from .facts import Decision

# What was used longer ago counts nowhere: the longest month with an hour that came twice.
WINDOW_SECONDS_MAX = 31 * 86_400
RULES_MAX = 32
CHOICES_MAX = 256

_STRICT = ConfigDict(strict=True, extra="forbid")
_MICROSECOND = timedelta(microseconds=1)
_HEX_START = "0x"

Arguments: TypeAlias = Mapping[str, object]
Otherwise: TypeAlias = Literal["ask", "deny"]
RuleName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$")]
Bound = Annotated[str, Field(pattern=f"^({AMOUNT_PATTERN})?$", max_length=100)]
Choice = Annotated[str, Field(max_length=256)] | int | bool
Zone = Annotated[str, Field(max_length=64)]


@dataclass(frozen=True)
class Objection:
    """What a rule minds about a call, and what becomes of the call for that."""

    decision: Decision
    rule: str
    problem: str

    def __str__(self) -> str:
        """Return it as the journal has it."""
        return f"rule {self.rule}: {self.problem}"


@dataclass(frozen=True)
class Use:
    """What a call takes of a window: `amount`, if with what was used after `since` it fits `most`.

    Amounts are those of `amounts.py` where a field is summed, else numbers of calls. Without
    `most` it is counted, and has room: a person decides.
    """

    key: str
    amount: int
    since: datetime
    most: int | None
    # Whose window it is; empty for that of the account.
    owner: str = ""


@dataclass(frozen=True)
class BoundRule:
    """A number, or how long a text or list is, is within bounds; an empty one is none."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["bound"]
    name: RuleName
    field: FieldName
    measure: Literal["value", "length"] = "value"
    ask_above: Bound = ""
    deny_above: Bound = ""
    ask_below: Bound = ""
    deny_below: Bound = ""

    def judge(self, arguments: Arguments, _now: datetime) -> Objection | None:
        """Return what it minds."""
        value = value_at(arguments, self.field)
        what = self.field if self.measure == "value" else f"the length of {self.field}"
        if self.measure == "length":
            value = len(value) if isinstance(value, str | list) else None
        amount = read_amount(value)
        bounds = list(self._bounds())
        if amount is None:
            worst = bounds[0][0]
            return Objection(worst, self.name, f"{what} is missing, or no exact number")
        for decision, bound, side in bounds:
            excess = amount - bound if side == "above" else bound - amount
            if excess > 0:
                problem = f"{what} is {amount_text(amount)}, {side} {amount_text(bound)}"
                return Objection(decision, self.name, problem)
        return None

    def problem(self) -> str:
        """Return why it is no rule; empty if it is one."""
        return "" if list(self._bounds()) else "has no bound"

    def _bounds(self) -> Iterator[tuple[Decision, int, str]]:
        """Yield the bounds, those that deny first."""
        for decision, bound, side in (
            (Decision.DENY, self.deny_above, "above"),
            (Decision.DENY, self.deny_below, "below"),
            (Decision.ASK, self.ask_above, "above"),
            (Decision.ASK, self.ask_below, "below"),
        ):
            amount = read_amount(bound)
            if amount is not None:
                yield decision, amount, side


@dataclass(frozen=True)
class ChoiceRule:
    """A field has one of the values in `only`, or none of those in `never`; one of both is empty.

    In texts `*` stands for any characters.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["choice"]
    name: RuleName
    field: FieldName
    only: Annotated[tuple[Choice, ...], Field(max_length=CHOICES_MAX)] = ()
    never: Annotated[tuple[Choice, ...], Field(max_length=CHOICES_MAX)] = ()
    otherwise: Otherwise = "deny"

    def judge(self, arguments: Arguments, _now: datetime) -> Objection | None:
        """Return what it minds."""
        value = value_at(arguments, self.field)
        if not isinstance(value, str | int) or isinstance(value, Fractional):
            problem = f"{self.field} is missing, or has no value that can be listed"
        elif self.never and self._is_barred(value):
            problem = f"{self.field} is one of those that are barred"
        elif self.only and not self._is_listed(value):
            problem = f"{self.field} is none of those that are listed"
        else:
            return None
        return Objection(Decision(self.otherwise), self.name, problem)

    def problem(self) -> str:
        """Return why it is no rule; empty if it is one."""
        return "" if bool(self.only) != bool(self.never) else "needs either `only` or `never`"

    def _is_listed(self, value: str | int) -> bool:
        if not isinstance(value, str):
            # For Python, True is 1.
            return any(type(one) is type(value) and one == value for one in self.only)
        return any(glob.matches(_without_case_of_hex(value)) for glob in self._listed)

    def _is_barred(self, value: str | int) -> bool:
        return any(glob.matches(_fold(value)) for glob in self._barred)

    @cached_property
    def _listed(self) -> tuple[Glob, ...]:
        return tuple(Glob(_without_case_of_hex(one)) for one in self.only if isinstance(one, str))

    @cached_property
    def _barred(self) -> tuple[Glob, ...]:
        return tuple(Glob(_fold(one)) for one in self.never)


@dataclass(frozen=True)
class WindowRule:
    """At most so many calls, or so much of the field `sum_of`, in a window.

    A window is a period of the calendar in a time zone, or the last `seconds`. With `each`, every
    value of that field has a window of its own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["window"]
    name: RuleName
    most: Bound
    per: Literal["", "hour", "day", "month"] = ""
    seconds: Annotated[int, Field(ge=0, le=WINDOW_SECONDS_MAX)] = 0
    time_zone: Zone = "UTC"
    sum_of: FieldName | Literal[""] = ""
    each: FieldName | Literal[""] = ""
    otherwise: Otherwise = "deny"

    def use(self, action: str, arguments: Arguments, now: datetime) -> Use | Objection:
        """Return what a call takes of the window, or what the call does not say for that."""
        decision = Decision(self.otherwise)
        amount = read_amount(value_at(arguments, self.sum_of)) if self.sum_of else 1
        if amount is None or amount < 0:
            problem = f"{self.sum_of} is missing, negative, or no exact number"
            return Objection(decision, self.name, problem)
        name = ""
        if self.each:
            value = value_at(arguments, self.each)
            if not isinstance(value, str | int):
                problem = f"{self.each} is missing, or has no value that can be counted by"
                return Objection(decision, self.name, problem)
            name = sha256_hex(_fold(value).encode())
        key = f"{action}/{self.name}/{self.sum_of}/{self.each}/{name}"
        return Use(key, amount, self._since(now), self._most)

    def objection(self) -> Objection:
        """Return what it minds about a use that has no room."""
        what = f" of {self.sum_of}" if self.sum_of else ""
        each = f" for each {self.each}" if self.each else ""
        per = self.per or f"{self.seconds} seconds"
        problem = f"{self.most}{what} per {per}{each} are used up"
        return Objection(Decision(self.otherwise), self.name, problem)

    def problem(self) -> str:
        """Return why it is no rule; empty if it is one."""
        if bool(self.per) == bool(self.seconds):
            return "needs either `per` or `seconds`"
        if self._most is None or self._most < 0:
            return "`most` is no number from 0 on"
        return "" if is_time_zone(self.time_zone) else f"{self.time_zone} is no time zone"

    def _since(self, now: datetime) -> datetime:
        if self.per:
            return period_start(self.per, self.time_zone, now) - _MICROSECOND
        return now - timedelta(seconds=self.seconds)

    @cached_property
    def _most(self) -> int | None:
        most = read_amount(self.most)
        return most if most is None or self.sum_of else most // _CALL


@dataclass(frozen=True)
class HoursRule:
    """It is a time of the week; `start` and `end` are minutes after midnight, days from Monday, 0.

    A span over midnight belongs to the day on which it begins.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["hours"]
    name: RuleName
    time_zone: Zone
    days: Annotated[
        tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1, max_length=7)
    ]
    start: Annotated[int, Field(ge=0, lt=MINUTES_PER_DAY)]
    end: Annotated[int, Field(ge=0, le=MINUTES_PER_DAY)]
    otherwise: Otherwise = "deny"

    def judge(self, _arguments: Arguments, now: datetime) -> Objection | None:
        """Return what it minds."""
        hours = Hours(self.time_zone, frozenset(self.days), self.start, self.end)
        if hours.include(now):
            return None
        return Objection(Decision(self.otherwise), self.name, "it is not the time for it")

    def problem(self) -> str:
        """Return why it is no rule; empty if it is one."""
        if self.start == self.end:
            return "is never open"
        return "" if is_time_zone(self.time_zone) else f"{self.time_zone} is no time zone"


Rule: TypeAlias = Annotated[
    BoundRule | ChoiceRule | WindowRule | HoursRule, Field(discriminator="kind")
]

_CALL = 10**18


def value_at(arguments: Arguments, field: str) -> object:
    """Return the value of a field such as `order.amount`; None if there is none."""
    value: object = arguments
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _fold(value: str | int) -> str:
    """Return what values have in common that a receiver could take for one another."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def _without_case_of_hex(text: str) -> str:
    return text.lower() if text[:2].lower() == _HEX_START else text
