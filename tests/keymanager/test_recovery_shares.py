"""Shares open their own backup when enough of them come together, and no other share does."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from shamir_mnemonic import Share
from shamir_mnemonic.wordlist import WORDLIST

from chassis.errors import InvalidField
from keymanager.errors import ShareDamaged, ShareForeign, SharesDisagree, SharesMissing
from keymanager.recovery import open_backup, read_header

from .backups import BACKUP, CONTENT, ENOUGH, made, with_header, with_word


@pytest.mark.parametrize("threshold", range(2, 6))
def test_any_shares_that_are_enough_open_a_backup(threshold: int) -> None:
    backup = made(threshold)
    for number in range(threshold, 6):
        for shares in itertools.combinations(backup.shares, number):
            assert open_backup(backup.content, shares) == CONTENT


@pytest.mark.parametrize("threshold", range(2, 6))
def test_one_share_too_few_opens_nothing(threshold: int) -> None:
    backup = made(threshold)
    for shares in itertools.combinations(backup.shares, threshold - 1):
        with pytest.raises(SharesMissing) as missing:
            open_backup(backup.content, shares)
        assert (missing.value.given, missing.value.needed) == (threshold - 1, threshold)


def test_the_order_of_shares_does_not_matter() -> None:
    assert open_backup(BACKUP.content, BACKUP.shares[4:1:-1]) == CONTENT


def test_a_share_counts_once() -> None:
    with pytest.raises(SharesMissing):
        open_backup(BACKUP.content, [BACKUP.shares[0]] * 3)


def test_an_old_backup_that_one_share_opens_is_still_opened() -> None:
    old = json.loads((Path(__file__).parent / "old_backup_of_one.json").read_text())
    opened = open_backup(base64.b64decode(old["backup"]), old["shares"])
    assert opened == b"made long ago, by one"


def test_sixteen_shares_of_sixteen_open_a_backup() -> None:
    backup = made(16, 16)
    assert open_backup(backup.content, backup.shares) == CONTENT


def test_how_a_share_is_typed_does_not_matter() -> None:
    first, *others = ENOUGH
    typed = "\n".join(f"  {word.upper()}" for word in first.split())
    assert open_backup(BACKUP.content, [typed, *others]) == CONTENT


def test_every_share_begins_with_the_words_of_the_backup() -> None:
    words = read_header(BACKUP.content).words
    assert all(share.startswith(f"{words} ") for share in BACKUP.shares)


def test_no_flipped_bit_of_a_share_is_accepted() -> None:
    first, *others = ENOUGH
    for place, bit in itertools.product(range(33), range(10)):
        word = WORDLIST[WORDLIST.index(first.split()[place]) ^ 1 << bit]
        with pytest.raises(ShareDamaged) as damaged:
            open_backup(BACKUP.content, [*others, with_word(first, place, word)])
        assert damaged.value.number == 3


def test_two_exchanged_words_are_noticed() -> None:
    words = ENOUGH[0].split()
    words[10], words[11] = words[11], words[10]
    with pytest.raises(ShareDamaged, match="share 1 is damaged"):
        open_backup(BACKUP.content, [" ".join(words), *ENOUGH[1:]])


@pytest.mark.parametrize(
    ("share", "problem"),
    [
        ("", "it has 0 words instead of 33"),
        (ENOUGH[1].rsplit(" ", 1)[0], "it has 32 words instead of 33"),
        (f"{ENOUGH[1]} academic", "it has 34 words instead of 33"),
        (with_word(ENOUGH[1], 6, "qwertz"), "its word 7 is none of the list of SLIP-39"),
        (with_word(ENOUGH[1], 6, "\ud800"), "its word 7 is none of the list of SLIP-39"),
    ],
    ids=range(5),
)
def test_a_damaged_share_is_named_with_its_problem(share: str, problem: str) -> None:
    with pytest.raises(ShareDamaged) as damaged:
        open_backup(BACKUP.content, [ENOUGH[0], share, ENOUGH[2]])
    assert (damaged.value.number, damaged.value.problem) == (2, problem)


def test_an_endless_share_is_refused() -> None:
    with pytest.raises(ShareDamaged):
        open_backup(BACKUP.content, ["academic " * 1_000_000])


def test_what_is_said_of_a_damaged_share_has_none_of_its_words() -> None:
    share = with_word(ENOUGH[0], 6, "academic")
    with pytest.raises(ShareDamaged) as damaged:
        open_backup(BACKUP.content, [share])
    assert not set(share.split()[2:]) & set(str(damaged.value).split())
    assert damaged.value.__cause__ is None
    assert damaged.value.__suppress_context__


def test_a_share_of_another_backup_is_named() -> None:
    other = made(seed=2)
    with pytest.raises(ShareForeign) as foreign:
        open_backup(BACKUP.content, [ENOUGH[0], other.shares[1], ENOUGH[2]])
    assert foreign.value.number == 2
    assert foreign.value.words == read_header(BACKUP.content).words


def test_a_share_of_another_threshold_is_named() -> None:
    # The same dice, so that it begins with the same words.
    with pytest.raises(ShareForeign):
        open_backup(BACKUP.content, [*ENOUGH[:2], made(4).shares[2]])


@pytest.mark.parametrize(
    "fields",
    [{"index": 5}, {"group_index": 1}, {"group_count": 2}, {"iteration_exponent": 15}],
    ids=str,
)
def test_a_share_that_was_made_up_is_named(fields: dict[str, int]) -> None:
    false = dataclasses.replace(Share.from_mnemonic(ENOUGH[1]), **fields).mnemonic()
    # Of this backup as it says itself; the exponent would keep the machine busy for minutes.
    backup = with_header(words=" ".join(false.split()[:2]))
    with pytest.raises(ShareForeign):
        open_backup(backup, [false])


def test_shares_of_another_backup_that_begin_with_the_same_words_do_not_open_this_one() -> None:
    # The library draws other polynomials, so one share of each set does not fit the others.
    twin = made()
    assert read_header(twin.content).words == read_header(BACKUP.content).words
    with pytest.raises(SharesDisagree):
        open_backup(BACKUP.content, [*ENOUGH[:2], twin.shares[2]])


def test_a_key_of_another_backup_is_noticed_before_anything_is_decrypted() -> None:
    with pytest.raises(SharesDisagree):
        open_backup(with_header(key_check="00" * 32), ENOUGH)


def test_two_false_twins_of_one_share_are_noticed() -> None:
    with pytest.raises(SharesDisagree):
        open_backup(BACKUP.content, [*ENOUGH, made().shares[0]])


@pytest.mark.parametrize("count", [0, 17])
def test_a_number_of_shares_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(InvalidField, match="shares"):
        open_backup(BACKUP.content, [ENOUGH[0]] * count)


@pytest.mark.parametrize(
    ("threshold", "count", "field"),
    [
        (0, 5, "threshold"),
        (6, 5, "threshold"),
        (1, 2, "threshold"),
        (2, 17, "count"),
        (1, 1, "count"),
        (1, 0, "count"),
    ],
)
def test_shares_that_make_no_sense_are_refused(threshold: int, count: int, field: str) -> None:
    with pytest.raises(InvalidField) as invalid:
        made(threshold, count)
    assert invalid.value.field == field
