"""What one record says of several operations: the facts of each, and the rule that decided it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from chassis.errors import InvalidField

from .record import Fact, Facts

# A page of 100 such records still fits into one message.
FACTS_BYTES_MAX = 32 * 1024


def facts_of_all(each: Sequence[Mapping[str, Fact]]) -> Facts:
    """Return the facts of operations of one kind, with their number if there are several.

    A fact that is not the same of all is a list, one item for each operation. Raise `InvalidField`
    where that is too much for a record.
    """
    if len(each) == 1:
        return each[0]
    names = dict.fromkeys(name for facts in each for name in facts)
    columns = {name: [facts.get(name) for facts in each] for name in names}
    found = {"operations": len(each), **{name: _joined(values) for name, values in columns.items()}}
    if len(json.dumps(found, ensure_ascii=False).encode()) > FACTS_BYTES_MAX:
        raise InvalidField("requests", "say more than one record can hold; send fewer at once")
    return found


def rules_of_all(rules: Sequence[str]) -> Facts:
    """Return which rule decided about each operation, unless one did about all."""
    joined = _joined(rules)
    return {} if isinstance(joined, str) else {"rules": joined}


def _joined(values: Sequence[Fact | None]) -> Fact | list[Fact | None]:
    first = values[0]
    if first is not None and all(value == first for value in values):
        return first
    return list(values)
