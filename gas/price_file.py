"""Reads a price table from YAML; whoever wrote it learns all that is wrong, and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import yaml

from chassis.problems import Flaw, Problem

from . import price_rules
from .price_problems import Place, PriceFileInvalid, problem_at
from .prices import DEFAULT_RATE, NEUTRAL, Meter, Price, PriceTable, Rate, Source, Weight, table_of

# A folder of files that are one table.
PACKAGED = Path(__file__).parent / "price_data"

# Of all files of a table together.
BYTES_MAX = 2 * 1024 * 1024
FILES_MAX = 100
# A price table needs four. The parser in C keeps no watch over its stack.
DEPTH_MAX = 16

_NUMBER = re.compile(r"[0-9][0-9_]{0,20}")
_TIER = re.compile(r"above ([1-9][0-9_]{0,20})")
_SECTIONS = ("prices", "rate", "sources", "weights")
_METERS = {meter.name.lower(): meter for meter in Meter}
_FIX_YAML = "check indentation, quotes and brackets here and in the line before"
_FIX_METER = f"meters are {', '.join(_METERS)}"
# The parser in C is six times as fast.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_Entries: TypeAlias = list[tuple[yaml.ScalarNode, yaml.Node]]


@dataclass(frozen=True)
class PriceFile:
    """A file as it was read; `name` is for problems."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Found:
    """What files say; without a rate, the table has the default one."""

    table: PriceTable
    has_rate: bool


@dataclass
class _Draft:
    """What files say so far, and where each item and the rate are."""

    places: dict[str, Place] = field(default_factory=dict)
    prices: list[Price] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    rate: Rate | None = None


# The settings check what the service then starts with: once is enough.
@lru_cache(maxsize=1)
def read_prices(path: Path) -> PriceTable:
    """Read a file, or all `.yaml` files of a folder as one table; raise `PriceFileInvalid`."""
    paths = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not 1 <= len(paths) <= FILES_MAX:
        raise _unusable(path, f"has {len(paths)} price files; it needs 1 to {FILES_MAX}")
    files, left = list[PriceFile](), BYTES_MAX
    for file in paths:
        try:
            with file.open("rb") as stream:
                files.append(PriceFile(str(file), stream.read(left + 1)))
        except OSError as error:
            raise _unusable(file, f"cannot be read: {error.strerror}") from error
        left -= len(files[-1].content)
        if left < 0:
            raise _unusable(path, f"is longer than {BYTES_MAX} bytes")
    return parse_prices(files).table


def parse_prices(files: Sequence[PriceFile]) -> Found:
    """Return the table that files are together, or raise `PriceFileInvalid` with all problems."""
    draft, problems = _Draft(), list[Problem]()
    for file in files:
        found = _Reader(file, draft).read()
        problems += sorted(found, key=lambda one: (one.line, one.column))
    table = table_of(draft.prices, rate=draft.rate or DEFAULT_RATE, weights=draft.weights)
    if not problems:
        problems += _problems_of_whole(table, draft, Place(files[0].name))
    if problems:
        raise PriceFileInvalid(problems)
    return Found(table, has_rate=draft.rate is not None)


def _problems_of_whole(table: PriceTable, draft: _Draft, start: Place) -> Iterator[Problem]:
    """Yield what no single line shows."""
    if not draft.prices:
        fix = "start it with 'prices:', or copy: actionvm gas prices show --yaml"
        yield problem_at(start, Flaw.MISSING_FIELD, "prices", "there are no prices", fix)
    for name, count, most in (
        ("prices", len(draft.prices), price_rules.PRICES_MAX),
        ("weights", len(draft.weights), price_rules.WEIGHTS_MAX),
    ):
        if count > most:
            message = f"there are {count}; at most {most} are allowed"
            yield problem_at(start, Flaw.INVALID_VALUE, name, message)
    for item, message in price_rules.tier_problems(table):
        path = f"prices.{item}"
        yield problem_at(draft.places[path], Flaw.INVALID_VALUE, path, message)


class _Reader:
    """Adds what one file says to a draft.

    The nodes of the document are read, not the objects that they stand for: nodes know their
    places, and show keys that come twice.
    """

    def __init__(self, file: PriceFile, draft: _Draft) -> None:
        self._file = file
        self._draft = draft
        self._sources: dict[str, Source] = {}
        self._problems: list[Problem] = []

    def read(self) -> list[Problem]:
        """Read the file, and return what is wrong with it."""
        root = self._compose()
        found = {key.value: (key, node) for key, node in self._entries(root, "")}
        for name, (key, _) in found.items():
            if name not in _SECTIONS:
                message = f"is no part of a price table; its parts are {', '.join(_SECTIONS)}"
                self._report(key, Flaw.UNKNOWN_FIELD, name, message)
        if "rate" in found:
            self._read_rate(*found["rate"])
        parts: dict[str, Callable[[yaml.ScalarNode, yaml.Node, str], None]] = {
            # First, because prices name their sources.
            "sources": self._read_source,
            "prices": self._read_item,
            "weights": self._read_weight,
        }
        for name, read in parts.items():
            for key, node in self._entries(found[name][1], name) if name in found else ():
                read(key, node, f"{name}.{key.value}")
        return self._problems

    def _compose(self) -> yaml.Node | None:
        try:
            text = self._file.content.decode()
            _require_flat(text)
            root = yaml.compose(text, Loader=_LOADER)
        except UnicodeDecodeError as error:
            self._refuse(Flaw.MALFORMED_TEXT, f"is not UTF-8, at byte {error.start}")
        except yaml.MarkedYAMLError as error:
            message = f"is not YAML: {error.problem}"
            self._refuse(Flaw.MALFORMED_YAML, message, _FIX_YAML, error.problem_mark)
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # \U without libyaml
            self._refuse(Flaw.MALFORMED_YAML, f"is not YAML: {error}")
        else:
            return root
        return None

    def _refuse(
        self, code: Flaw, message: str, fix: str = "", mark: yaml.Mark | None = None
    ) -> None:
        name = self._file.name
        place = _place(name, mark) if mark else Place(name)
        self._problems.append(problem_at(place, code, "", message, fix))

    def _read_source(self, key: yaml.ScalarNode, node: yaml.Node, path: str) -> None:
        found = self._texts(key, node, path, ("url", "date"))
        for name, check in (("url", price_rules.url_problem), ("date", price_rules.date_problem)):
            if name in found:
                self._require(found[name], f"{path}.{name}", check(found[name].value))
        self._sources[key.value] = Source(
            *(found[name].value if name in found else "" for name in ("url", "date"))
        )

    def _read_rate(self, key: yaml.ScalarNode, node: yaml.Node) -> None:
        if not self._is_new(key, "rate"):
            return
        names = ("micros_per_thousand_gas", "currency")
        found = self._texts(key, node, "rate", names)
        if found.keys() != set(names):
            return
        micros, currency = (found[name].value for name in names)
        rate = Rate(int(micros) if _NUMBER.fullmatch(micros) else 0, currency)
        for name, problem in price_rules.rate_problems(rate):
            self._require(found[name], f"rate.{name}", problem)
        self._draft.rate = rate

    def _read_item(self, key: yaml.ScalarNode, node: yaml.Node, path: str) -> None:
        """Read the prices of one item; its tiers are mappings of their own."""
        if not self._is_new(key, path):
            return
        self._require(key, path, price_rules.item_problem(key.value))
        source, lines = None, list[tuple[yaml.ScalarNode, yaml.Node, int]]()
        entries = self._entries(node, path)
        for name, value in entries:
            tier = _TIER.fullmatch(name.value)
            if tier:
                inner = f"{path}.{name.value}"
                above = int(tier[1].replace("_", ""))
                if above > price_rules.TOKENS_ABOVE_MAX:
                    problem = f"is above more than {price_rules.TOKENS_ABOVE_MAX} tokens"
                    self._require(name, inner, problem)
                lines += [(*entry, above) for entry in self._entries(value, inner)]
            elif name.value != "source":
                lines.append((name, value, 0))
            elif isinstance(value, yaml.ScalarNode) and value.value in self._sources:
                source = self._sources[value.value]
            else:
                problem = "is no source of this file; name it below 'sources'"
                self._require(value, f"{path}.source", problem)
        if entries and not lines:
            self._report(key, Flaw.MISSING_FIELD, path, "has no price of a meter", _FIX_METER)
        for name, value, above in lines:
            self._read_price(name, value, path, Price(key.value, Meter.IMAGES, 0, above, source))

    def _read_price(
        self, key: yaml.ScalarNode, node: yaml.Node, item_path: str, price: Price
    ) -> None:
        """Read the meter and the gas of a price of which all else is known."""
        path = f"{item_path}.{key.value}"
        if key.value not in _METERS:
            message = f"'{key.value}' is no meter"
            self._report(key, Flaw.UNKNOWN_FIELD, path, message, _FIX_METER)
            return
        # Also in two tiers of which one is written with underscores.
        if self._is_new(key, f"{item_path}.above {price.input_tokens_above}.{key.value}"):
            gas = self._number(node, path, most=price_rules.GAS_PER_THOUSAND_MAX)
            read = replace(price, meter=_METERS[key.value], gas_per_thousand=gas)
            self._draft.prices.append(read)

    def _read_weight(self, key: yaml.ScalarNode, node: yaml.Node, path: str) -> None:
        if not self._is_new(key, path):
            return
        count = len(self._problems)
        permille = {"complexity_permille": NEUTRAL, "inference_time_permille": NEUTRAL}
        frequencies: list[tuple[int, int]] = []
        entries = self._entries(node, path)
        for name, value in entries:
            inner = f"{path}.{name.value}"
            most = price_rules.WEIGHT_PERMILLE_MAX
            if name.value in permille:
                permille[name.value] = self._number(value, inner, most=most)
            elif name.value == "frequencies":
                frequencies = [
                    (
                        self._number(calls, inner, most=price_rules.CALLS_MAX),
                        self._number(weight, inner, most=most),
                    )
                    for calls, weight in self._entries(value, inner)
                ]
            else:
                known = ", ".join([*permille, "frequencies"])
                message = f"is no weight; weights are {known}"
                self._report(name, Flaw.UNKNOWN_FIELD, inner, message)
        weight = Weight(key.value, **permille, frequencies=tuple(frequencies))
        wrong, problem = price_rules.weight_problem(weight)
        if problem and len(self._problems) == count:
            places = {entry.value: entry for entry, _ in entries} | {"item": key}
            self._require(places[wrong], path, problem)
        self._draft.weights.append(weight)

    def _texts(
        self, key: yaml.ScalarNode, node: yaml.Node, path: str, names: Sequence[str]
    ) -> dict[str, yaml.ScalarNode]:
        """Return the texts of a mapping that has exactly these keys."""
        found: dict[str, yaml.ScalarNode] = {}
        entries = self._entries(node, path)
        for name, value in entries:
            inner = f"{path}.{name.value}"
            if name.value not in names:
                message = f"is unknown; known are {' and '.join(names)}"
                self._report(name, Flaw.UNKNOWN_FIELD, inner, message)
            elif isinstance(value, yaml.ScalarNode):
                found[name.value] = value
            else:
                self._report(value, Flaw.WRONG_TYPE, inner, "must be text")
        for missing in sorted(set(names) - {name.value for name, _ in entries}) if entries else ():
            self._report(key, Flaw.MISSING_FIELD, f"{path}.{missing}", "is required")
        return found

    def _entries(self, node: yaml.Node | None, path: str) -> _Entries:
        """Return the entries of a mapping; report what is none, and keys that come twice."""
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode) or not node.value:
            message = "must be a mapping with at least one entry"
            self._report(node, Flaw.WRONG_TYPE, path, message)
            return []
        found: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, Flaw.KEY_INVALID, path, "a key must be text")
            elif key.value in found:
                inner = f"{path}.{key.value}" if path else key.value
                self._report(key, Flaw.DUPLICATE_KEY, inner, "comes twice")
            else:
                found[key.value] = (key, value)
        return list(found.values())

    def _number(self, node: yaml.Node, path: str, *, most: int) -> int:
        if isinstance(node, yaml.ScalarNode) and _NUMBER.fullmatch(node.value):
            number = int(node.value.replace("_", ""))
            if number <= most:
                return number
        message = f"must be a whole number from 0 to {most}"
        self._report(node, Flaw.WRONG_TYPE, path, message)
        return 0

    def _is_new(self, key: yaml.ScalarNode, path: str) -> bool:
        """Return whether nothing of this path came before, also in another file."""
        first = self._draft.places.setdefault(path, self._place(key))
        if first == self._place(key):
            return True
        message = f"comes twice; first at {first}"
        self._report(key, Flaw.DUPLICATE_KEY, path, message)
        return False

    def _require(self, node: yaml.Node, path: str, problem: str) -> None:
        if problem:
            self._report(node, Flaw.INVALID_VALUE, path, problem)

    def _report(self, node: yaml.Node, code: Flaw, path: str, message: str, fix: str = "") -> None:
        self._problems.append(problem_at(self._place(node), code, path, message, fix))

    def _place(self, node: yaml.Node) -> Place:
        return _place(self._file.name, node.start_mark)


def _require_flat(text: str) -> None:
    """Refuse what needs more than its own length to read: deep nesting, and aliases."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        problem = "it is nested too deeply" if depth > DEPTH_MAX else ""
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not read; write out what it stands for"
        if problem:
            raise yaml.MarkedYAMLError(
                problem=problem,
                problem_mark=event.start_mark,  # type: ignore[arg-type]  # those of C are alike
            )


def _place(file: str, mark: yaml.Mark) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


def _unusable(path: Path, message: str) -> PriceFileInvalid:
    return PriceFileInvalid([problem_at(Place(str(path)), Flaw.MALFORMED_TEXT, "", message)])
