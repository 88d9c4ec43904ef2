"""A price table as a file: what it says and where, and how a table is written as one.

Whether values fit together is for the gas system to say; that gets its place here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from actionvm.gas.v1 import gas_pb2, prices_pb2
from chassis.canonical import Json

from .errors import CommandError, Problem
from .manifest import read_limited
from .meters import METERS, meter_name
from .quantities import PERMILLE, WHOLE_MAX

FILE_BYTES_MAX = 1024 * 1024
FILES_MAX = 100
SECTIONS = ("prices", "rate", "sources", "weights")
WEIGHTS = ("complexity_permille", "inference_time_permille")

_NUMBER = re.compile(r"[0-9][0-9_]{0,20}")
_TIER = re.compile(r"above ([1-9][0-9_]{0,20})")
_INDEXED = re.compile(r"(prices|weights)\[([0-9]+)\]|rate")

# The contract says all of these.
GAS_MAX = 10**12
CALLS_MAX = 10**9
WEIGHT_MAX = 10**6
ITEM = re.compile(r"[a-z]{1,16} (?:[!-)+-~]{1,128}\*?|\*)")
CURRENCY = re.compile(r"[A-Z]{3}")
URL = re.compile(r"https://[!-~]{1,504}")
DATE = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]")

Place = tuple[str, int, int]
Entries = list[tuple[yaml.ScalarNode, yaml.Node]]


@dataclass
class PriceFile:
    """What a file says, or all files of a folder together; `places` are those of fields."""

    prices: list[gas_pb2.Price] = field(default_factory=list)
    weights: list[prices_pb2.Weight] = field(default_factory=list)
    rate: prices_pb2.Rate | None = None
    places: dict[str, Place] = field(default_factory=dict)

    def locate(self, error: CommandError) -> CommandError:
        """Return what the gas system refused with the place of it in the file."""
        found = _INDEXED.match(error.field)
        if not found or found[0] not in self.places:
            return error
        message = error.message.removeprefix(f"{error.field}: ")
        field = error.field
        if found[1]:
            named = self.prices if found[1] == "prices" else self.weights
            field = field.replace(found[0], _join(found[1], named[int(found[2])].item), 1)
        return invalid([_problem(self.places[found[0]], error.reason, field, message)])


def read_price_file(path: Path) -> PriceFile:
    """Read a file, or all `.yaml` files of a folder; raise `CommandError` with all problems."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not 1 <= len(files) <= FILES_MAX:
        raise CommandError(
            f"{path} has {len(files)} files .yaml; 1 to {FILES_MAX} are one price table",
            reason="FILE_UNUSABLE",
            field="FILE",
            fix="name a file, or a folder of price files",
        )
    found, problems = PriceFile(), list[Problem]()
    for file in files:
        name = str(file.relative_to(path)) if path.is_dir() else path.name
        content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="FILE")
        problems += _Reader(name, found).read(content)
    if not found.prices and not problems:
        fix = "start it with 'prices:', or copy: actionvm gas prices show --yaml"
        place = (path.name, 1, 1)
        problems.append(_problem(place, "MISSING_FIELD", "prices", "there are no prices", fix))
    if problems:
        raise invalid(problems)
    return found


def invalid(problems: list[Problem]) -> CommandError:
    """Return the error of a file with problems."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return CommandError(
        f"the price table has {count}; nothing was changed",
        reason="PRICE_FILE_INVALID",
        field="FILE",
        fix="a table that works: actionvm gas prices show --yaml",
        problems=problems,
    )


def write_price_file(table: gas_pb2.GetPriceTableResponse) -> str:
    """Return a table as a file that can be changed, and read again."""
    origins = sorted({(one.source_url, one.source_date) for one in table.prices if one.source_url})
    sources = {origin: f"source-{number}" for number, origin in enumerate(origins, start=1)}
    content: dict[str, Json] = {}
    if table.HasField("rate"):
        content["rate"] = {
            "micros_per_thousand_gas": table.rate.micros_per_thousand_gas,
            "currency": table.rate.currency,
        }
    if sources:
        content["sources"] = {
            name: {"url": url, "date": day} for (url, day), name in sources.items()
        }
    items: dict[str, dict[str, Json]] = {}
    for price in table.prices:
        item = items.setdefault(price.item, {})
        if price.source_url:
            item["source"] = sources[price.source_url, price.source_date]
        meter = meter_name(price.meter)
        if price.input_tokens_above:
            tier = item.setdefault(f"above {price.input_tokens_above}", {})
            assert isinstance(tier, dict), "tiers are mappings, which were made here"
            tier[meter] = price.gas_per_thousand
        else:
            item[meter] = price.gas_per_thousand
    content["prices"] = items
    if table.weights:
        content["weights"] = {weight.item: _weight_to_json(weight) for weight in table.weights}
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _weight_to_json(weight: prices_pb2.Weight) -> Json:
    permille: dict[str, Json] = {name: getattr(weight, name) for name in WEIGHTS}
    if weight.frequencies:
        permille["frequencies"] = {one.calls_min: one.weight_permille for one in weight.frequencies}  # type: ignore[misc]  # YAML has numbers as keys
    return permille


class _Reader:
    """Reads one file into a table. Nodes are read, not values: they know their place."""

    def __init__(self, file: str, table: PriceFile) -> None:
        self._file = file
        self._table = table
        self._problems: list[Problem] = []
        self._sources: dict[str, tuple[str, str]] = {}

    def read(self, content: bytes) -> list[Problem]:
        """Add what the file says, and return what is wrong with it."""
        top = self._entries(self._compose(content), "")
        sections = {key.value: (key, node) for key, node in top}
        for name, (key, _) in sections.items():
            if name not in SECTIONS:
                message = f"is no part of a price table; its parts are {', '.join(SECTIONS)}"
                self._report(key, "UNKNOWN_FIELD", name, message)
        parts: dict[str, Callable[[yaml.ScalarNode, yaml.Node], None]] = {
            # First, because prices name their sources.
            "sources": self._read_source,
            "prices": self._read_item,
            "weights": self._read_weight,
        }
        if "rate" in sections:
            self._read_rate(*sections["rate"])
        for name, read in parts.items():
            for key, node in self._entries(sections[name][1], name) if name in sections else ():
                read(key, node)
        return self._problems

    def _compose(self, content: bytes) -> yaml.Node | None:
        start = (self._file, 1, 1)
        try:
            root = yaml.compose(content.decode(), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            message = f"is not UTF-8, at byte {error.start}"
            self._problems.append(_problem(start, "MALFORMED_TEXT", "", message))
            return None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (self._file, mark.line + 1, mark.column + 1) if mark else start
            message = f"is not YAML: {error.problem}"
            fix = "check indentation, quotes and brackets here and in the line before"
            self._problems.append(_problem(place, "MALFORMED_YAML", "", message, fix))
            return None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            self._problems.append(_problem(start, "MALFORMED_YAML", "", f"is not YAML: {error}"))
            return None
        if root is None:
            self._problems.append(_problem(start, "MISSING_FIELD", "prices", "the file is empty"))
        return root

    def _entries(self, node: yaml.Node | None, field: str) -> Entries:
        """Return the entries of a mapping; report what is none, and keys that come twice."""
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self._report(node, "WRONG_TYPE", field, "must be a mapping with at least one entry")
            return []
        found: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, "KEY_INVALID", field, "a key must be text")
            elif key.value in found:
                self._report(key, "DUPLICATE_KEY", _join(field, key.value), "comes twice")
            else:
                found[key.value] = (key, value)
        return list(found.values())

    def _read_source(self, key: yaml.ScalarNode, node: yaml.Node) -> None:
        field = _join("sources", key.value)
        found = self._fields(key, node, field, ("url", "date"))
        url = self._text(found.get("url"), _join(field, "url"), URL, "an https URL")
        date = self._text(found.get("date"), _join(field, "date"), DATE, "a day: 2026-11-22")
        self._sources[key.value] = (url, date)

    def _read_rate(self, key: yaml.ScalarNode, node: yaml.Node) -> None:
        if self._table.rate is not None:
            self._report(key, "DUPLICATE_KEY", "rate", "comes twice")
        amount, currency = "micros_per_thousand_gas", "currency"
        found = self._fields(key, node, "rate", (amount, currency))
        self._table.places["rate"] = self._place(key)
        self._table.rate = prices_pb2.Rate(
            micros_per_thousand_gas=self._number(found.get(amount), _join("rate", amount)),
            currency=self._text(
                found.get(currency), _join("rate", currency), CURRENCY, "three letters: USD"
            ),
        )

    def _read_item(self, key: yaml.ScalarNode, node: yaml.Node) -> None:
        """Read the prices of one item; its tiers are mappings of their own."""
        item, place = key.value, _join("prices", key.value)
        if self._is_known(key, place):
            return
        self._text(key, place, ITEM, "a kind, a space and a name, such as 'model local/*'")
        source, lines = ("", ""), list[tuple[yaml.ScalarNode, yaml.Node, int]]()
        for name, value in self._entries(node, place):
            tier = _TIER.fullmatch(name.value)
            if tier:
                above = min(int(tier[1].replace("_", "")), WHOLE_MAX)
                inner = self._entries(value, _join(place, name.value))
                lines += [(meter, gas, above) for meter, gas in inner]
            elif name.value != "source":
                lines.append((name, value, 0))
            elif isinstance(value, yaml.ScalarNode) and value.value in self._sources:
                source = self._sources[value.value]
            else:
                message = "is no source of this file; name it below 'sources'"
                self._report(value, "INVALID_VALUE", _join(place, "source"), message)
        for name, value, above in lines:
            self._read_price(
                name,
                value,
                gas_pb2.Price(
                    item=item, input_tokens_above=above, source_url=source[0], source_date=source[1]
                ),
            )

    def _read_price(self, key: yaml.ScalarNode, node: yaml.Node, price: gas_pb2.Price) -> None:
        field = _join(_join("prices", price.item), key.value)
        if key.value not in METERS:
            fix = f"meters are {', '.join(METERS)}"
            self._report(key, "UNKNOWN_FIELD", field, f"'{key.value}' is no meter", fix)
            return
        price.meter = METERS[key.value]
        price.gas_per_thousand = self._number(node, field, most=GAS_MAX)
        self._table.places[f"prices[{len(self._table.prices)}]"] = self._place(node)
        self._table.prices.append(price)

    def _read_weight(self, key: yaml.ScalarNode, node: yaml.Node) -> None:
        place = _join("weights", key.value)
        if self._is_known(key, place):
            return
        self._text(key, place, ITEM, "a kind, a space and a name, such as 'model local/*'")
        weight = prices_pb2.Weight(
            item=key.value, complexity_permille=PERMILLE, inference_time_permille=PERMILLE
        )
        for name, value in self._entries(node, place):
            field = _join(place, name.value)
            if name.value in WEIGHTS:
                setattr(weight, name.value, self._number(value, field, most=WEIGHT_MAX))
            elif name.value == "frequencies":
                for calls, permille in self._entries(value, field):
                    weight.frequencies.add(
                        calls_min=self._number(calls, field, most=CALLS_MAX),
                        weight_permille=self._number(permille, field, most=WEIGHT_MAX),
                    )
            else:
                known = ", ".join((*WEIGHTS, "frequencies"))
                self._report(name, "UNKNOWN_FIELD", field, f"is no weight; weights are {known}")
        self._table.places[f"weights[{len(self._table.weights)}]"] = self._place(key)
        self._table.weights.append(weight)

    def _fields(
        self, key: yaml.ScalarNode, node: yaml.Node, field: str, names: tuple[str, ...]
    ) -> dict[str, yaml.ScalarNode]:
        """Return the texts of a mapping that has exactly these keys."""
        found: dict[str, yaml.ScalarNode] = {}
        entries = self._entries(node, field)
        for name, value in entries:
            if name.value not in names:
                message = f"is unknown; known are {' and '.join(names)}"
                self._report(name, "UNKNOWN_FIELD", _join(field, name.value), message)
            elif isinstance(value, yaml.ScalarNode):
                found[name.value] = value
            else:
                self._report(value, "WRONG_TYPE", _join(field, name.value), "must be text")
        for missing in sorted(set(names) - {name.value for name, _ in entries}):
            self._report(key, "MISSING_FIELD", _join(field, missing), "is required")
        return found

    def _is_known(self, key: yaml.ScalarNode, field: str) -> bool:
        """Return whether an item came before, also in another file, and report it."""
        if field in self._table.places:
            self._report(key, "DUPLICATE_KEY", field, "comes twice")
            return True
        self._table.places[field] = self._place(key)
        return False

    def _number(self, node: yaml.Node | None, field: str, *, most: int = WHOLE_MAX) -> int:
        if node is None:
            return 0
        if isinstance(node, yaml.ScalarNode) and _NUMBER.fullmatch(node.value):
            number = int(node.value.replace("_", ""))
            if number <= most:
                return number
        self._report(node, "WRONG_TYPE", field, f"must be a whole number from 0 to {most}")
        return 0

    def _text(
        self, node: yaml.ScalarNode | None, field: str, pattern: re.Pattern[str], example: str
    ) -> str:
        if node is None:
            return ""
        if not pattern.fullmatch(node.value):
            self._report(node, "INVALID_VALUE", field, f"must be {example}")
        return str(node.value)

    def _report(self, node: yaml.Node, code: str, field: str, message: str, fix: str = "") -> None:
        self._problems.append(_problem(self._place(node), code, field, message, fix))

    def _place(self, node: yaml.Node) -> Place:
        return self._file, node.start_mark.line + 1, node.start_mark.column + 1


def _join(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key


def _problem(place: Place, code: str, field: str, message: str, fix: str = "") -> Problem:
    file, line, column = place
    return Problem("error", code, file, line, column, field, message, fix)
