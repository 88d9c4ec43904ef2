"""What a price table may say; whoever reads one adds where the problem is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date

from .prices import Meter, PriceTable, Rate, Weight
from .texts import ITEM_PATTERN

PRICES_MAX = 10_000
WEIGHTS_MAX = 1_000
FREQUENCIES_MAX = 8
GAS_PER_THOUSAND_MAX = 10**12
TOKENS_ABOVE_MAX = 10**9
WEIGHT_PERMILLE_MAX = 10**6
CALLS_MAX = 10**9
MICROS_PER_THOUSAND_GAS_MAX = 10**9
URL_CHARACTERS_MAX = 512

_URL = re.compile(r"https://[!-~]+")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def item_problem(item: str) -> str:
    """Return what is wrong with an item or a pattern of items; empty if nothing is."""
    if ITEM_PATTERN.fullmatch(item):
        return ""
    return f"'{item}' is no item; it is a kind, a space and a name, such as 'model local/*'"


def url_problem(url: str) -> str:
    """Return what is wrong with the address of a source."""
    if len(url) <= URL_CHARACTERS_MAX and _URL.fullmatch(url):
        return ""
    return f"must be an https URL of at most {URL_CHARACTERS_MAX} characters"


def date_problem(text: str) -> str:
    """Return what is wrong with the day on which a source was read."""
    try:
        if _DATE.fullmatch(text):
            date.fromisoformat(text)
            return ""
    except ValueError:
        pass
    return "must be a day, such as 2026-11-22"


def rate_problems(rate: Rate) -> Iterator[tuple[str, str]]:
    """Yield each field of a rate that is wrong, and why."""
    if not 1 <= rate.micros_per_thousand_gas <= MICROS_PER_THOUSAND_GAS_MAX:
        yield "micros_per_thousand_gas", f"must be 1 to {MICROS_PER_THOUSAND_GAS_MAX}"
    if not _CURRENCY.fullmatch(rate.currency):
        yield "currency", "must be three capital letters, such as USD"


def weight_problem(weight: Weight) -> tuple[str, str]:
    """Return the field of a weight that is wrong, and why; empty if none is."""
    if problem := item_problem(weight.item):
        return "item", problem
    for field, permille in (
        ("complexity_permille", weight.complexity_permille),
        ("inference_time_permille", weight.inference_time_permille),
        *(("frequencies", permille) for _, permille in weight.frequencies),
    ):
        if not 0 <= permille <= WEIGHT_PERMILLE_MAX:
            return field, f"is {permille}; a weight is 0 to {WEIGHT_PERMILLE_MAX}"
    if len(weight.frequencies) > FREQUENCIES_MAX:
        return "frequencies", f"are {len(weight.frequencies)}; at most {FREQUENCIES_MAX}"
    calls = [least for least, _ in weight.frequencies]
    if calls != sorted(set(calls)) or not all(1 <= least <= CALLS_MAX for least in calls):
        return "frequencies", f"must have calls that rise, from 1 to {CALLS_MAX}"
    return "", ""


def tier_problems(table: PriceTable) -> Iterator[tuple[str, str]]:
    """Yield each item whose tiers are wrong, and why.

    Reading more must never cost less: the most that a call can use is then also its worst case.
    """
    for item, tiers in sorted(table.tiers.items()):
        problem = _tier_problem(table.gas_per_thousand.get(item), tiers)
        if problem:
            yield item, f"{item} {problem}"


def _tier_problem(
    base: Mapping[Meter, int] | None, tiers: Mapping[int, Mapping[Meter, int]]
) -> str:
    if base is None:
        return "has no price for calls that read less"
    prices = dict(base)
    for above, dearer in sorted(tiers.items()):
        if any(gas < prices.get(meter, 0) for meter, gas in dearer.items()):
            return f"costs less above {above} tokens than below"
        prices.update(dearer)
    return ""
