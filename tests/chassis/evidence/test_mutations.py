"""Ten thousand changes of an export, made by who knows its format, and none is accepted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TypeAlias

import pytest

from chassis.canonical import Json, canonical_json
from chassis.evidence.lines import Entry, parse_record, record_line
from chassis.evidence.log import chain
from chassis.evidence.verifying import verify_export

from .logs import bench

Lines: TypeAlias = list[bytes]
Change: TypeAlias = Callable[[Lines, random.Random], Lines]

MUTATIONS = 10_000
GENUINE = bench(3, 4, 2)
# What an attacker can also have: exports of before, of a part, of another log and of another key.
OTHERS = [
    GENUINE.export(last=3),
    GENUINE.export(last=7),
    GENUINE.export(first=4),
    bench(3, 4, 2, ledger="ledger-2").export(),
    bench(3, 4, 2, seed=2).export(),
]


def flip(lines: Lines, dice: random.Random) -> Lines:
    return _with_bytes(lines, dice, lambda byte: bytes([byte ^ 1 << dice.randrange(8)]))


def drop_byte(lines: Lines, dice: random.Random) -> Lines:
    return _with_bytes(lines, dice, lambda _: b"")


def insert_byte(lines: Lines, dice: random.Random) -> Lines:
    return _with_bytes(lines, dice, lambda byte: bytes([byte, dice.choice(b' \n\r\t0"}a')]))


def remove(lines: Lines, dice: random.Random) -> Lines:
    at = dice.randrange(len(lines))
    return [*lines[:at], *lines[at + dice.randint(1, 3) :]]


def double(lines: Lines, dice: random.Random) -> Lines:
    at, end = sorted(dice.choices(range(len(lines) + 1), k=2))
    return [*lines[:end], *lines[at:]]


def move(lines: Lines, dice: random.Random) -> Lines:
    line = lines.pop(dice.randrange(len(lines)))
    lines.insert(dice.randint(0, len(lines)), line)
    return lines


def exchange(lines: Lines, dice: random.Random) -> Lines:
    at, other = dice.choices(range(len(lines)), k=2)
    lines[at], lines[other] = lines[other], lines[at]
    return lines


def cut(lines: Lines, dice: random.Random) -> Lines:
    return lines[: dice.randrange(len(lines))]


def cut_bytes(lines: Lines, dice: random.Random) -> Lines:
    content = b"".join(lines)
    return content[: dice.randrange(len(content))].splitlines(keepends=True)


def splice(lines: Lines, dice: random.Random) -> Lines:
    """Put a line of another genuine export in the place of one of this."""
    lines[dice.randrange(len(lines))] = dice.choice(dice.choice(OTHERS))
    return lines


def graft(lines: Lines, dice: random.Random) -> Lines:
    """Go on with the end of another export."""
    other = dice.choice(OTHERS)
    return [*lines[: dice.randrange(1, len(lines))], *other[dice.randrange(1, len(other)) :]]


def change_field(lines: Lines, dice: random.Random) -> Lines:
    """Change one field, and write the line as it is written."""
    at = dice.randrange(len(lines))
    fields = json.loads(lines[at])
    _change(fields, dice)
    lines[at] = canonical_json(fields) + b"\n"
    return lines


def change_record(lines: Lines, dice: random.Random) -> Lines:
    """Change one field of a record, and make all hashes after it anew."""
    at = dice.choice([n for n, line in enumerate(lines) if line.startswith(b'{"chain')])
    entry = parse_record(lines[at])
    fields = json.loads(entry.content)
    _change(fields, dice)
    lines[at] = record_line(Entry(canonical_json(fields), b""))
    return _rechained(lines)


def remove_record(lines: Lines, dice: random.Random) -> Lines:
    """Leave a record out, and make numbers and hashes after it anew."""
    records = [n for n, line in enumerate(lines) if line.startswith(b'{"chain')]
    del lines[dice.choice(records)]
    return _rechained(lines, renumbered=True)


CHANGES: list[Change] = [
    *(flip, drop_byte, insert_byte, remove, double, move, exchange, cut, cut_bytes, splice, graft),
    *(change_field, change_record, remove_record),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_mutation_of_an_export_is_accepted(change: Change) -> None:
    genuine = GENUINE.export()
    dice = random.Random(change.__name__)
    made = 0
    while made < MUTATIONS // len(CHANGES) + 1:
        lines = change(list(genuine), dice)
        # As they come out of a file.
        if b"".join(lines) == b"".join(genuine) or lines in OTHERS:
            continue
        report = verify_export(b"".join(lines).splitlines(keepends=True), GENUINE.key)
        assert report.flaw, lines
        assert 1 <= report.line <= max(len(lines) + 1, 1)
        made += 1


def _with_bytes(lines: Lines, dice: random.Random, change: Callable[[int], bytes]) -> Lines:
    at = dice.randrange(len(lines))
    place = dice.randrange(len(lines[at]))
    line = lines[at]
    lines[at] = line[:place] + change(line[place]) + line[place + 1 :]
    return lines


def _change(fields: dict[str, Json], dice: random.Random) -> None:
    """Change one leaf of a JSON object, or remove it, or add one."""
    parents = [fields, *(part for part in fields.values() if isinstance(part, dict))]
    parent = dice.choice([part for part in parents if part])
    assert isinstance(parent, dict)
    name = dice.choice(sorted(parent))
    value = parent[name]
    kinds: list[Json] = [None, "", 0, 1, True, [], {}, 2**53 - 1, -1, 0.5, "é"]
    if isinstance(value, str) and value:
        place = dice.randrange(len(value))
        kinds += [value[:place] + dice.choice("0af9Z") + value[place + 1 :]] * 20
        kinds += [value[:-1], value.upper(), value + "0", value[::-1]]
    elif isinstance(value, int):
        kinds += [value + 1, value - 1, value * 2, str(value)] * 3
    action = dice.random()
    if action < 0.1:
        del parent[name]
    elif action < 0.2:
        parent["added"] = dice.choice(kinds)
    else:
        parent[name] = dice.choice(kinds)


def _rechained(lines: Lines, *, renumbered: bool = False) -> Lines:
    head, sequence = bytes(32), 0
    for at, line in enumerate(lines):
        if line.startswith(b'{"chain'):
            content = json.loads(line)["record"]
            sequence += 1
            if renumbered:
                content["sequence"] = sequence
            head = chain(head, canonical_json(content))
            lines[at] = record_line(Entry(canonical_json(content), head))
    return lines
