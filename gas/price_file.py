"""Reads a price table from YAML; whoever wrote it learns the line that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import yaml

from . import price_rules
from .prices import DEFAULT_RATE, NEUTRAL, Meter, Price, PriceTable, Rate, Source, Weight, table_of

# A folder of files that are one table.
PACKAGED = Path(__file__).parent / "price_data"

BYTES_MAX = 1024 * 1024
FILES_MAX = 100

_NUMBER = re.compile(r"[0-9][0-9_]{0,20}")
_TIER = re.compile(r"above ([1-9][0-9_]{0,20})")
_SECTIONS = ("prices", "rate", "sources", "weights")
_METERS = {meter.name.lower(): meter for meter in Meter}

_Entries: TypeAlias = list[tuple[yaml.ScalarNode, yaml.Node]]


class PriceFileInvalid(ValueError):
    """A price table cannot be used; the message says where and why."""


@dataclass
class _Draft:
    """What files say so far."""

    items: set[str] = field(default_factory=set)
    prices: list[Price] = field(default_factory=list)
    weights: dict[str, Weight] = field(default_factory=dict)
    rate: Rate | None = None

    def table(self) -> PriceTable:
        """Return the table, or raise `PriceFileInvalid` for what is wrong with all of it."""
        if not self.prices:
            raise PriceFileInvalid("1: has no prices; it needs the key 'prices'")
        if len(self.prices) > price_rules.PRICES_MAX:
            problem = f"has {len(self.prices)} prices; at most {price_rules.PRICES_MAX} are allowed"
            raise PriceFileInvalid(f"1: {problem}")
        table = table_of(self.prices, rate=self.rate or DEFAULT_RATE, weights=self.weights.values())
        _, problem = price_rules.tier_problem(table)
        if problem:
            raise PriceFileInvalid(f"1: {problem}")
        return table


# The settings check what the service then starts with: once is enough.
@lru_cache(maxsize=1)
def read_prices(path: Path) -> PriceTable:
    """Read a file, or all `.yaml` files of a folder as one table; raise `PriceFileInvalid`."""
    draft = _Draft()
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files or len(files) > FILES_MAX:
        raise PriceFileInvalid(f"{path}: has {len(files)} price files; it needs 1 to {FILES_MAX}")
    for file in files:
        try:
            _add(draft, _read(file))
        except PriceFileInvalid as error:
            raise PriceFileInvalid(f"{file}:{error}") from error
    try:
        return draft.table()
    except PriceFileInvalid as error:
        raise PriceFileInvalid(f"{path}:{error}") from error


def parse_prices(content: bytes) -> PriceTable:
    """Return the table, or raise `PriceFileInvalid` with `line: problem`."""
    draft = _Draft()
    _add(draft, content)
    return draft.table()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(BYTES_MAX + 1)
    except OSError as error:
        raise PriceFileInvalid(f" cannot be read: {error.strerror}") from error


def _add(draft: _Draft, content: bytes) -> None:
    """Add what a file says.

    The nodes of the document are read, not the objects that they stand for: nodes know their
    lines, show keys that come twice, and do not unfold aliases.
    """
    sections = _entries(_compose(_decode(content)), "the price table")
    found = {key.value: (key, node) for key, node in sections}
    for name, (key, _) in found.items():
        if name not in _SECTIONS:
            raise _problem(key, f"'{name}' is unknown; keys are {', '.join(_SECTIONS)}")
    sources = _sources(found["sources"][1]) if "sources" in found else {}
    if "rate" in found:
        if draft.rate is not None:
            raise _problem(found["rate"][0], "rate comes twice")
        draft.rate = _rate(*found["rate"])
    for key, node in _entries(found["weights"][1], "weights") if "weights" in found else ():
        if key.value in draft.weights:
            raise _problem(key, f"'{key.value}' comes twice in weights")
        draft.weights[key.value] = _weight(key, node)
    for key, node in _entries(found["prices"][1], "prices") if "prices" in found else ():
        if key.value in draft.items:
            raise _problem(key, f"'{key.value}' comes twice in prices")
        draft.items.add(key.value)
        draft.prices += _prices_of(key, node, sources)


def _decode(content: bytes) -> str:
    if len(content) > BYTES_MAX:
        raise PriceFileInvalid(f" is longer than {BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PriceFileInvalid(f" is not UTF-8, at byte {error.start}") from error


def _prices_of(
    key: yaml.ScalarNode, node: yaml.Node, sources: dict[str, Source]
) -> Iterable[Price]:
    """Yield the prices of one item, whose tiers are mappings of their own."""
    _require(key, price_rules.item_problem(key.value))
    source, found = None, dict[tuple[Meter, int], int]()
    for name, value in _entries(node, key.value):
        tier = _TIER.fullmatch(name.value)
        if name.value == "source":
            source = sources.get(_text(value))
            if source is None:
                raise _problem(value, "is no source of this file; name it below 'sources'")
        elif tier:
            above = int(tier[1].replace("_", ""))
            for meter, gas in _entries(value, name.value):
                found[_meter(meter), above] = _gas(meter, gas)
        else:
            found[_meter(name), 0] = _gas(name, value)
    if not found:
        raise _problem(key, f"{key.value} has no price of a meter")
    for (priced, above), gas_per_thousand in found.items():
        yield Price(key.value, priced, gas_per_thousand, above, source)


def _meter(key: yaml.ScalarNode) -> Meter:
    if key.value not in _METERS:
        raise _problem(key, f"'{key.value}' is no meter; meters are {', '.join(_METERS)}")
    return _METERS[key.value]


def _gas(key: yaml.ScalarNode, value: yaml.Node) -> int:
    return _number(value, key.value, most=price_rules.GAS_PER_THOUSAND_MAX)


def _sources(node: yaml.Node) -> dict[str, Source]:
    found = {}
    for key, value in _entries(node, "sources"):
        source = Source(*_texts(key, value, "url", "date"))
        for name, problem in (
            ("url", price_rules.url_problem(source.url)),
            ("date", price_rules.date_problem(source.date)),
        ):
            _require(value, f"{name} {problem}" if problem else "")
        found[key.value] = source
    return found


def _rate(key: yaml.ScalarNode, node: yaml.Node) -> Rate:
    micros, currency = _texts(key, node, "micros_per_thousand_gas", "currency")
    rate = Rate(int(micros) if _NUMBER.fullmatch(micros) else 0, currency)
    name, problem = price_rules.rate_problem(rate)
    _require(node, f"{name} {problem}" if problem else "")
    return rate


def _weight(key: yaml.ScalarNode, node: yaml.Node) -> Weight:
    permille = {"complexity_permille": NEUTRAL, "inference_time_permille": NEUTRAL}
    frequencies: list[tuple[int, int]] = []
    for name, value in _entries(node, key.value):
        if name.value == "frequencies":
            frequencies = [
                (
                    _number(calls, "calls", most=price_rules.CALLS_MAX),
                    _number(weight, "a weight", most=price_rules.WEIGHT_PERMILLE_MAX),
                )
                for calls, weight in _entries(value, "frequencies")
            ]
        elif name.value in permille:
            most = price_rules.WEIGHT_PERMILLE_MAX
            permille[name.value] = _number(value, name.value, most=most)
        else:
            names = ", ".join([*permille, "frequencies"])
            raise _problem(name, f"'{name.value}' is no weight; weights are {names}")
    weight = Weight(key.value, **permille, frequencies=tuple(frequencies))
    _, problem = price_rules.weight_problem(weight)
    _require(key, problem)
    return weight


def _texts(key: yaml.ScalarNode, node: yaml.Node, *names: str) -> list[str]:
    """Return the texts of a mapping that has exactly these keys."""
    found = {name.value: _text(value) for name, value in _entries(node, key.value)}
    if found.keys() != set(names):
        raise _problem(key, f"{key.value} has exactly the keys {' and '.join(names)}")
    return [found[name] for name in names]


def _compose(text: str) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PriceFileInvalid(f"{line}: is not YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise PriceFileInvalid(f"1: is not YAML: {error}") from error
    if root is None:
        raise PriceFileInvalid("1: is empty; it starts with 'prices:'")
    return root


def _entries(node: yaml.Node, what: str) -> _Entries:
    """Return the entries of a mapping, of which there must be some, with different keys."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise _problem(node, f"{what} must be a mapping with at least one entry")
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem(key, f"a key of {what} must be text")
        if key.value in seen:
            raise _problem(key, f"'{key.value}' comes twice in {what}")
        seen.add(key.value)
    return list(node.value)


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _problem(node, "must be text")
    return str(node.value)


def _number(node: yaml.Node, name: str, *, most: int) -> int:
    is_number = isinstance(node, yaml.ScalarNode) and _NUMBER.fullmatch(node.value)
    number = int(node.value.replace("_", "")) if is_number else -1
    if not 0 <= number <= most:
        raise _problem(node, f"{name} must be a whole number from 0 to {most}")
    return number


def _require(node: yaml.Node, problem: str) -> None:
    if problem:
        raise _problem(node, problem)


def _problem(node: yaml.Node, problem: str) -> PriceFileInvalid:
    return PriceFileInvalid(f"{node.start_mark.line + 1}: {problem}")
