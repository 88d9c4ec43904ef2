"""Reads a price table from YAML; whoever wrote it learns the line that is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

import yaml

from .prices import Meter, PriceTable

PACKAGED = Path(__file__).parent / "prices.yaml"

BYTES_MAX = 1024 * 1024
PRICES_MAX = 10_000
GAS_PER_THOUSAND_MAX = 10**12

_ITEM = re.compile(r"[a-z]{1,16} (?:[!-)+-~]{1,128}\*?|\*)")
_GAS = re.compile(r"[0-9][0-9_]{0,20}")
_METERS = {meter.name.lower(): meter for meter in Meter}

_Entries: TypeAlias = list[tuple[yaml.ScalarNode, yaml.Node]]


class PriceFileInvalid(ValueError):
    """A price table cannot be used; the message says where and why."""


def read_prices(path: Path) -> PriceTable:
    """Read a file, or raise `PriceFileInvalid`."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise PriceFileInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PriceFileInvalid(f"{path}: is not UTF-8, at byte {error.start}") from error
    if len(content) > BYTES_MAX:
        raise PriceFileInvalid(f"{path}: is longer than {BYTES_MAX} bytes")
    try:
        return parse_prices(text)
    except PriceFileInvalid as error:
        raise PriceFileInvalid(f"{path}:{error}") from error


def parse_prices(text: str) -> PriceTable:
    """Return the table, or raise `PriceFileInvalid` with `line: problem`.

    The nodes of the document are read, not the objects that they stand for: nodes know their
    lines, show keys that come twice, and do not unfold aliases.
    """
    top = _entries(_compose(text), "the price table")
    unknown = [key for key, _ in top if key.value != "prices"]
    if unknown:
        raise _problem(unknown[0], f"'{unknown[0].value}' is unknown; the only key is 'prices'")
    table: dict[str, dict[Meter, int]] = {}
    for key, meters in _entries(top[0][1], "prices"):
        if not _ITEM.fullmatch(key.value):
            shape = "a kind, a space and a name, such as 'model local/*'"
            raise _problem(key, f"'{key.value}' is no item; it is {shape}")
        table[key.value] = dict(_price(*entry) for entry in _entries(meters, key.value))
    count = sum(map(len, table.values()))
    if count > PRICES_MAX:
        raise PriceFileInvalid(f"1: has {count} prices; at most {PRICES_MAX} are allowed")
    return PriceTable(table)


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


def _price(key: yaml.ScalarNode, value: yaml.Node) -> tuple[Meter, int]:
    if key.value not in _METERS:
        raise _problem(key, f"'{key.value}' is no meter; meters are {', '.join(_METERS)}")
    is_number = isinstance(value, yaml.ScalarNode) and _GAS.fullmatch(value.value)
    gas = int(value.value.replace("_", "")) if is_number else -1
    if not 0 <= gas <= GAS_PER_THOUSAND_MAX:
        problem = f"{key.value} must be a whole number from 0 to {GAS_PER_THOUSAND_MAX}"
        raise _problem(value, problem)
    return _METERS[key.value], gas


def _problem(node: yaml.Node, problem: str) -> PriceFileInvalid:
    return PriceFileInvalid(f"{node.start_mark.line + 1}: {problem}")
