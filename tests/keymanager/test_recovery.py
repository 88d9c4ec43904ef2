"""A backup opens with enough of its own shares, and no other one is accepted."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import Json
from chassis.errors import ServiceError
from keymanager.errors import BackupInvalid
from keymanager.recovery import Header, open_backup, read_header

from .backups import BACKUP, ENOUGH, LINE, TIME, checksummed, made, with_header

MUTATIONS = 1_000


def test_a_backup_says_what_it_is() -> None:
    header = read_header(BACKUP.content)
    assert header == Header("ledger-1", TIME, 3, 5, header.words, header.key_check)


@pytest.mark.parametrize("content", [b"", bytes(100_000)])
def test_a_content_of_any_size_comes_back(content: bytes) -> None:
    backup = made(content=content)
    assert open_backup(backup.content, backup.shares) == content


def test_a_backup_that_was_made_long_ago_opens() -> None:
    old = json.loads((Path(__file__).parent / "old_backup.json").read_text(encoding="utf-8"))
    assert open_backup(base64.b64decode(old["backup"]), old["shares"]) == b"made long ago"


def test_a_backup_shows_nothing_of_its_content() -> None:
    assert b"secret" not in BACKUP.content
    assert repr(BACKUP) == "Backup()"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is none of the key manager"),
        (b"PK\x03\x04", "is none of the key manager"),
        (b"[]\n", "is none of the key manager"),
        (b"{}\n", "is none of the key manager"),
        (b"[" * 4_000 + b"\n", "is none of the key manager"),
        (b'{"format":5}\n', "is none of the key manager"),
        (b'{"format":"x/v9"}\n', "has the format 'x/v9', which this release does not read"),
        (LINE + b"\n", "is damaged: its checksum does not fit; use another copy"),
        (checksummed(LINE + b"\n" + bytes(59)), "is cut off; use another copy"),
    ],
    ids=range(9),
)
def test_what_is_no_backup_is_said(content: bytes, problem: str) -> None:
    with pytest.raises(BackupInvalid) as invalid:
        open_backup(content, ENOUGH)
    assert invalid.value.problem == problem


def test_an_accident_is_told_from_a_change_on_purpose() -> None:
    changed = bytearray(BACKUP.content)
    changed[-40] ^= 1
    with pytest.raises(BackupInvalid, match="damaged"):
        open_backup(bytes(changed), ENOUGH)
    with pytest.raises(BackupInvalid, match="on purpose"):
        open_backup(checksummed(bytes(changed)), ENOUGH)


@pytest.mark.parametrize(
    "fields",
    [
        {"ledger": "ledger-2"},
        {"ledger": "\n"},
        {"create_time": "2026-01-31T12:00:00.000001Z"},
        {"create_time": "0001-01-01T00:00:00.000000+23:59"},
        {"create_time": ""},
        {"count": 4},
        {"count": 17},
        {"threshold": 2},
        {"threshold": 6},
        {"threshold": 0},
        {"words": "academic acid"},
        {"words": ""},
        {"key_check": ""},
        {"key_check": "x"},
        {"key_check": 5},
        {"added": 1},
    ],
    ids=str,
)
def test_no_field_of_the_header_can_be_changed(fields: dict[str, Json]) -> None:
    with pytest.raises(ServiceError):
        open_backup(with_header(**fields), BACKUP.shares)


def test_a_backup_with_half_a_character_in_its_header_is_refused() -> None:
    content = BACKUP.content.replace(b"ledger-1", b"\\ud800")
    with pytest.raises(BackupInvalid):
        open_backup(checksummed(content), ENOUGH)


def flip(content: bytearray, dice: random.Random) -> None:
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def cut(content: bytearray, dice: random.Random) -> None:
    del content[dice.randrange(len(content)) :]


def remove(content: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(content))
    del content[start : start + dice.randint(1, 40)]


def insert(content: bytearray, dice: random.Random) -> None:
    content[(place := dice.randrange(len(content) + 1)) : place] = dice.randbytes(
        dice.randint(1, 40)
    )


def overwrite(content: bytearray, dice: random.Random) -> None:
    """Put a part of another backup in the same place."""
    other = made(seed=3).content
    start = dice.randrange(len(other))
    end = start + dice.randint(1, 60)
    content[start:end] = other[start:end]


@pytest.mark.parametrize("is_checksummed", [False, True])
@pytest.mark.parametrize("change", [flip, cut, remove, insert, overwrite])
def test_no_mutation_of_a_backup_is_accepted(
    change: Callable[[bytearray, random.Random], None], *, is_checksummed: bool
) -> None:
    dice = random.Random(f"{change.__name__} {is_checksummed}")
    for _ in range(MUTATIONS // 10):
        content = bytearray(BACKUP.content)
        change(content, dice)
        changed = checksummed(bytes(content)) if is_checksummed else bytes(content)
        if changed == BACKUP.content:
            continue
        with pytest.raises(ServiceError):
            open_backup(changed, ENOUGH)


@given(
    st.binary(max_size=300) | st.just(BACKUP.content),
    st.lists(st.text(max_size=100) | st.sampled_from(BACKUP.shares[:2]), max_size=20),
)
def test_whatever_comes_is_refused_in_words(content: bytes, shares: list[str]) -> None:
    with pytest.raises(ServiceError):
        open_backup(content, shares)
