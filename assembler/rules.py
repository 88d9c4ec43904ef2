"""What the policy of an action may say, and how a bundle says it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from chassis.canonical import Json
from chassis.clock import is_time_zone
from chassis.hours import DAYS

from .part import Part

RULES_MAX = 32
CHOICES_MAX = 256
WINDOW_SECONDS_MAX = 31 * 86_400
PERIODS = ("hour", "day", "month")
BOUNDS = ("ask_above", "deny_above", "ask_below", "deny_below")

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AMOUNT = r"-?(0|[1-9][0-9]{0,77})(\.[0-9]{1,18})?"


def check_time_zone(name: str) -> str:
    """Return a time zone, or refuse what is none."""
    if not is_time_zone(name):
        raise PydanticCustomError("INVALID_VALUE", "is no time zone of the IANA database")
    return name


def _text_of_number(value: JsonValue) -> JsonValue:
    """Return a number as text: what YAML has as a number is one, too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return format(Decimal(repr(value)), "f")


def _check_window(text: str) -> str:
    if text not in PERIODS and window_seconds(text) > WINDOW_SECONDS_MAX:
        raise PydanticCustomError("OUT_OF_RANGE", "is more than 31d")
    return text


Amount = Annotated[
    str,
    BeforeValidator(_text_of_number),
    WithJsonSchema({"type": ["string", "number"]}),
    Field(max_length=100, pattern=f"^{_AMOUNT}$"),
]
FieldName = Annotated[
    str, Field(max_length=256, pattern=r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}$")
]
TimeZone = Annotated[str, AfterValidator(check_time_zone), Field(max_length=64)]
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class OpenHours(Part):
    """A time of the week on the clocks of a place."""

    timezone: TimeZone = Field(
        description="the IANA time zone of the clocks", examples=["Europe/Berlin"]
    )
    days: list[Day] = Field(
        default=[*get_args(Day)],
        min_length=1,
        max_length=7,
        description="the days on which it begins",
        examples=[["monday", "friday"]],
    )
    start: str = Field(
        default="00:00",
        alias="from",
        pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="when it begins, in quotes",
        examples=["08:00"],
    )
    end: str = Field(
        default="24:00",
        alias="until",
        pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
        description="when it ends, in quotes",
        examples=["18:00"],
    )


class Rule(Part):
    """One rule of the policy of an action: a bound, a list, a window or hours."""

    name: str = Field(
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        description="the name of the rule, by which decisions and counts are known",
        examples=["recipients"],
    )
    field: FieldName = Field(
        default="", description="a field of the arguments, such as `amount` or `order.amount`"
    )
    length_of: FieldName = Field(
        default="", description="a text or list of the arguments whose length is meant"
    )
    ask_above: Amount = Field(default="", description="a person decides above it", examples=[100])
    deny_above: Amount = Field(default="", description="nobody may go above it", examples=[1_000])
    ask_below: Amount = Field(default="", description="a person decides below it", examples=[10])
    deny_below: Amount = Field(default="", description="nobody may go below it", examples=[1])
    only: list[JsonValue] = Field(
        default=[],
        min_length=1,
        max_length=CHOICES_MAX,
        description="the values that the field may have; `*` stands for any characters",
        examples=[["anna@example.com", "*@example.org"]],
    )
    never: list[JsonValue] = Field(
        default=[],
        min_length=1,
        max_length=CHOICES_MAX,
        description="the values that the field must not have",
        examples=[["*@example.net"]],
    )
    most: Amount = Field(
        default="", description="most calls in a window, or most of `sum_of`", examples=[10]
    )
    per: Annotated[str, AfterValidator(_check_window)] = Field(
        default="",
        pattern="^(hour|day|month|[1-9][0-9]{0,6}[smhd])$",
        description="the window: `hour`, `day` or `month` of the calendar, or the last `24h`",
        examples=["day"],
    )
    timezone: TimeZone = Field(
        default="UTC",
        description="the IANA time zone in which hours, days and months begin",
        examples=["Europe/Berlin"],
    )
    sum_of: FieldName = Field(
        default="", description="a field of the arguments that is summed", examples=["amount"]
    )
    each: FieldName = Field(
        default="",
        description="a field of the arguments; each of its values has a window of its own",
        examples=["to"],
    )
    hours: OpenHours | None = Field(
        default=None,
        description="when it may happen",
        examples=[{"timezone": "Europe/Berlin", "from": "08:00", "until": "18:00"}],
    )
    otherwise: Literal["deny", "ask"] = Field(
        default="deny", description="what happens to a call that does not keep to it"
    )


def window_seconds(text: str) -> int:
    """Return how long the last `24h` are; 0 for a period of the calendar."""
    return 0 if text in PERIODS else int(text[:-1]) * _SECONDS[text[-1]]


def minutes_of(text: str) -> int:
    """Return a time of day in minutes after midnight."""
    return int(text[:2]) * 60 + int(text[3:])


def policy_of(rules: Sequence[Rule], *, per_day: int) -> list[Json]:
    """Return the rules as a bundle has them; a limit per day is one, too."""
    limit: dict[str, Json] = {
        "kind": "window",
        "name": "per_day",
        "most": str(per_day),
        "per": "day",
    }
    return [*([limit] if per_day else []), *map(_rule, rules)]


def _rule(rule: Rule) -> Json:
    otherwise: dict[str, Json] = {"otherwise": "ask"} if rule.otherwise == "ask" else {}
    if rule.only or rule.never:
        listed = {"only": rule.only} if rule.only else {"never": rule.never}
        return {
            "kind": "choice",
            "name": rule.name,
            "field": rule.field,
            **listed,
            **otherwise,
        }
    if rule.hours:
        return {
            "kind": "hours",
            "name": rule.name,
            "time_zone": rule.hours.timezone,
            "days": sorted({DAYS.index(day) for day in rule.hours.days}),
            "start": minutes_of(rule.hours.start),
            "end": minutes_of(rule.hours.end),
            **otherwise,
        }
    if rule.most:
        seconds = window_seconds(rule.per)
        window: dict[str, Json] = {"seconds": seconds} if seconds else {"per": rule.per}
        zone: dict[str, Json] = {} if rule.timezone == "UTC" else {"time_zone": rule.timezone}
        parts = {"sum_of": rule.sum_of, "each": rule.each}
        named = {name: part for name, part in parts.items() if part}
        head: dict[str, Json] = {"kind": "window", "name": rule.name, "most": rule.most}
        return {**head, **window, **zone, **named, **otherwise}
    bounds = {name: bound for name in BOUNDS if (bound := getattr(rule, name))}
    measure: dict[str, Json] = {"measure": "length"} if rule.length_of else {}
    field = rule.field or rule.length_of
    return {"kind": "bound", "name": rule.name, "field": field, **measure, **bounds}
