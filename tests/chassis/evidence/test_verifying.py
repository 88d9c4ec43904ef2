"""An export is genuine as it was written, and what is wrong with another is said in words."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.evidence.export import export_lines
from chassis.evidence.lines import (
    LINE_BYTES_MAX,
    Entry,
    Header,
    checkpoint_line,
    end_content,
    end_line,
    header_line,
)
from chassis.evidence.log import chain
from chassis.evidence.verifying import Report, read_lines, verify_export

from .logs import Bench, bench

GENUINE = bench(3, 3, 2)
LINES = GENUINE.export()
PLACES = range(len(LINES))


def flaw(lines: list[bytes], key: bytes | None = None, earlier: Report | None = None) -> str:
    """Return what is wrong, with its line."""
    report = verify_export(lines, key, earlier)
    return f"{report.line}: {report.flaw}" if report.flaw else ""


def edited(at: int, old: bytes, new: bytes) -> list[bytes]:
    assert old in LINES[at], "a test changes something"
    return [*LINES[:at], LINES[at].replace(old, new, 1), *LINES[at + 1 :]]


def resigned(lines: list[bytes], owner: Bench) -> list[bytes]:
    """Return lines with an end that fits them, as only the owner of the key can make it."""
    digest = hashlib.sha256(b"".join(lines)).digest()
    return [*lines, end_line(digest, owner.sign(end_content(digest)))]


# Where the first checkpoint is: after the header and three records.
AT = 4


# --- Genuine -------------------------------------------------------------------------------------


def test_an_export_is_genuine_as_it_was_written() -> None:
    report = verify_export(LINES, GENUINE.key)

    assert report == Report(
        header=Header(GENUINE.ledger, GENUINE.key),
        log=GENUINE.states[-1],
        checkpoint=GENUINE.checkpoints[-1],
        checkpoint_count=3,
        line=len(LINES),
        flaw="",
    )


@pytest.mark.parametrize("first", range(1, 10))
def test_an_export_that_starts_late_is_genuine(first: int) -> None:
    report = verify_export(GENUINE.export(first=first), GENUINE.key)

    assert not report.flaw
    assert (report.record_count, report.log) == (9 - first, GENUINE.states[-1])


def test_an_export_of_an_empty_log_is_genuine() -> None:
    assert not flaw(bench(0).export())


def test_two_checkpoints_of_one_state_are_genuine() -> None:
    assert not flaw(bench(3, 0).export())


def test_lines_of_a_file_are_those_that_were_written() -> None:
    assert list(read_lines(io.BytesIO(b"".join(LINES)))) == LINES


def test_a_line_without_end_is_not_read_into_memory() -> None:
    lines = [*LINES[:2], b"x" * 3 * LINE_BYTES_MAX]

    found = list(read_lines(io.BytesIO(b"".join(lines))))

    assert max(map(len, found)) == LINE_BYTES_MAX + 1
    assert flaw(found) == f"3: the line has more than {LINE_BYTES_MAX} bytes"


# --- Every line ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", PLACES)
def test_no_line_can_be_missing(at: int) -> None:
    assert flaw([*LINES[:at], *LINES[at + 1 :]])


@pytest.mark.parametrize("at", PLACES)
def test_no_line_can_stand_twice(at: int) -> None:
    assert flaw([*LINES[: at + 1], *LINES[at:]])


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("other", PLACES)
def test_no_two_lines_can_be_exchanged(at: int, other: int) -> None:
    lines = list(LINES)
    lines[at], lines[other] = lines[other], lines[at]

    assert bool(flaw(lines)) == (at != other)


@pytest.mark.parametrize("at", PLACES)
def test_no_tail_can_be_cut_off(at: int) -> None:
    assert flaw(LINES[:at])
    assert flaw([*LINES[:at], LINES[at][:-1]])


@pytest.mark.parametrize("at", PLACES)
def test_no_bit_can_be_flipped(at: int) -> None:
    for byte in range(len(LINES[at])):
        changed = bytearray(LINES[at])
        changed[byte] ^= 1 << byte % 8
        assert flaw([*LINES[:at], bytes(changed), *LINES[at + 1 :]]), f"byte {byte}"


@pytest.mark.parametrize("at", PLACES)
def test_a_line_has_one_spelling(at: int) -> None:
    fields = json.loads(LINES[at])
    spellings = [json.dumps(fields), json.dumps({**fields, "zzz": 1}, separators=(",", ":"))]
    for spelling in (*spellings, LINES[at].decode().replace('":', '": ', 1).strip()):
        report = verify_export([*LINES[:at], f"{spelling}\n".encode(), *LINES[at + 1 :]])
        assert (bool(report.flaw), report.line) == (True, at + 1)


@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=300), max_size=15))
def test_whatever_comes_is_answered_with_a_report(lines: list[bytes]) -> None:
    assert bool(flaw(lines, GENUINE.key)) == (lines != LINES)


@pytest.mark.parametrize("start", [b'{"chain_hash":"%b","record":{"a":' % (b"0" * 64), b'{"end":'])
def test_a_line_that_goes_deep_is_answered_with_a_report(start: bytes) -> None:
    line = start + b"[" * 100_000 + b"}}\n"
    assert flaw([LINES[0], line])


# --- What is said --------------------------------------------------------------------------------


def test_a_changed_record_is_named() -> None:
    assert flaw(edited(2, b'"n":1', b'"n":2')) == "3: record 2 was changed: its hash does not fit"


def test_a_changed_hash_is_named() -> None:
    swapped = LINES[1][15:79]
    assert "3: record 2 was changed" in flaw(edited(2, LINES[2][15:79], swapped))


def test_a_missing_record_is_named() -> None:
    assert flaw([*LINES[:2], *LINES[3:]]) == "3: record 2 is missing: record 3 stands here"


def test_a_doubled_record_is_named() -> None:
    assert flaw([*LINES[:3], *LINES[2:]]) == "4: record 2 stands where record 3 should"


def test_a_cut_tail_is_named() -> None:
    assert flaw(LINES[:3]) == "3: the end is missing: nothing follows record 2"


def test_a_cut_at_a_checkpoint_is_named() -> None:
    whole = LINES[: AT + 1]
    assert flaw(whole) == f"{len(whole)}: the end is missing: nothing follows record 3"


def test_a_cut_line_is_named() -> None:
    assert flaw([*LINES[:2], LINES[2][:-5]]) == "3: the line is cut off"


def test_an_empty_file_is_named() -> None:
    assert flaw([]) == "1: the file is empty"


def test_what_follows_the_end_is_named() -> None:
    assert flaw([*LINES, LINES[1]]) == f"{len(LINES) + 1}: something was added after the end"


def test_another_format_is_named() -> None:
    other = edited(0, b"log-export/v1", b"log-export/v9")
    assert flaw(other) == "1: the first line does not name the format actionvm.log-export/v1"


def test_a_forged_checkpoint_is_named() -> None:
    other = edited(AT, b'"counter":1', b'"counter":9')
    assert flaw(other) == f"{AT + 1}: the checkpoint is forged: its signature does not fit"


def test_a_checkpoint_of_another_key_is_named() -> None:
    other = bench(3, 3, 2, seed=2)
    lines = [*LINES[:AT], checkpoint_line(other.checkpoints[0]), *LINES[AT + 1 :]]
    assert flaw(lines) == f"{AT + 1}: the checkpoint is signed with another key: {other.key.hex()}"


def test_a_checkpoint_of_another_ledger_is_named() -> None:
    other = bench(3, ledger="ledger-2")
    lines = [*LINES[:AT], checkpoint_line(other.checkpoints[0]), *LINES[AT + 1 :]]
    assert flaw(lines) == f"{AT + 1}: the checkpoint is of another ledger: ledger-2"


def test_a_checkpoint_in_another_place_is_named() -> None:
    lines = [*LINES[: AT - 1], LINES[AT], LINES[AT - 1], *LINES[AT + 1 :]]
    assert flaw(lines) == (
        f"{AT}: the checkpoint is of record 3, but follows 2: records are missing, or it was moved"
    )


def test_a_doubled_checkpoint_is_named() -> None:
    lines = [*LINES[: AT + 1], *LINES[AT:]]
    assert flaw(lines) == f"{AT + 2}: the checkpoint stands here twice"


def test_a_removed_checkpoint_is_found_at_the_end() -> None:
    last = len(LINES) - 1
    assert flaw([*LINES[:AT], *LINES[AT + 1 :]]) == (
        f"{last}: the lines before the end are not those that were signed"
    )


def test_records_of_which_all_hashes_were_made_anew_are_found_at_the_checkpoint() -> None:
    forged = bench(3, 3, 2)
    content = forged.entries[0].content.replace(b'"n":1', b'"n":7')
    head = bytes(32)
    entries = []
    for entry in [Entry(content, b""), *forged.entries[1:]]:
        head = chain(head, entry.content)
        entries.append(Entry(entry.content, head))
    lines = list(
        export_lines(Header("ledger-1", forged.key), entries, forged.checkpoints, forged.sign)
    )
    assert flaw(lines) == (
        f"{AT + 1}: the records before the checkpoint are not those that were signed"
    )


def test_a_forged_end_is_named() -> None:
    other = bench(3, 3, 2, seed=2)
    assert flaw(resigned(LINES[:-1], other)) == (
        f"{len(LINES)}: the end is forged: its signature does not fit"
    )


def test_an_end_without_a_checkpoint_before_it_is_named() -> None:
    lines = resigned(LINES[:-2], GENUINE)
    assert flaw(lines) == f"{len(lines)}: record 8 has no checkpoint after it"


def test_a_line_of_another_kind_is_named() -> None:
    lines = [*LINES[:2], b'{"note":1}\n', *LINES[2:]]
    assert flaw(lines) == "3: the line is damaged: it is neither a record nor a checkpoint"


def test_a_record_without_a_sequence_is_named() -> None:
    content = b'{"sequence":true}'
    hashed = chain(bytes(32), content).hex().encode()
    line = b'{"chain_hash":"%b","record":%b}\n' % (hashed, content)
    assert "2: record 1 was changed" in flaw([LINES[0], line, *LINES[2:]])


def test_a_counter_that_went_back_is_named() -> None:
    log = bench(3)
    log.add(1)
    log.check(counter=0)
    assert flaw(log.export()) == "7: the counter of the platform went back from 1 to 0"


@pytest.mark.parametrize("name", ["head", "frontier"])
def test_a_false_state_before_the_first_record_leads_nowhere(name: str) -> None:
    before = GENUINE.states[4]
    if name == "head":
        false = replace(before, head=bytes(32))
    else:
        false = replace(before, tree=replace(before.tree, frontier=(bytes(32),)))
    header = header_line(Header(GENUINE.ledger, GENUINE.key, false))
    lines = resigned([header, *GENUINE.export(first=5)[1:-1]], GENUINE)
    assert flaw(lines)


# --- Whose ---------------------------------------------------------------------------------------


def test_an_export_of_another_key_is_named_to_who_has_the_right_one() -> None:
    other = bench(3, seed=2)
    assert not flaw(other.export())
    assert flaw(other.export(), GENUINE.key) == (
        f"1: the export is signed with another key: {other.key.hex()}"
    )


# --- A second export -----------------------------------------------------------------------------

EARLIER = verify_export(GENUINE.export(last=6))


def test_an_export_continues_an_earlier_one() -> None:
    assert not EARLIER.flaw
    assert not flaw(LINES, earlier=EARLIER)


@pytest.mark.parametrize("first", range(1, 8))
def test_an_export_that_starts_late_continues_one_that_it_touches(first: int) -> None:
    assert not flaw(GENUINE.export(first=first), earlier=EARLIER)


def test_an_export_continues_itself() -> None:
    assert not flaw(LINES, earlier=verify_export(LINES))


def test_a_gap_between_two_exports_is_named() -> None:
    assert flaw(GENUINE.export(first=8), earlier=EARLIER) == (
        "1: the earlier export ends with record 6, and this one begins with record 8: "
        "export it from an earlier record on"
    )


@pytest.mark.parametrize("first", [1, 7])
def test_another_past_is_named_although_all_of_it_is_signed(first: int) -> None:
    forked = bench(3)
    forked.add(3, text="other")
    forked.check(2)
    forked.add(2)
    forked.check(3)

    assert not flaw(forked.export(first=first))
    assert flaw(forked.export(first=first), earlier=EARLIER) == (
        f"{8 if first == 1 else 1}: record 6 or one before it is not what it was in the earlier "
        "export"
    )


def test_a_past_that_was_cut_off_is_named() -> None:
    found = flaw(GENUINE.export(last=3), earlier=EARLIER)
    assert found == (
        "6: it ends with record 3, but the earlier export with record 6: records are gone, or the "
        "two files are exchanged"
    )


def test_a_second_export_of_another_ledger_is_named() -> None:
    other = bench(3, 3, 2, ledger="ledger-2")
    assert flaw(other.export(), earlier=EARLIER) == (
        "1: the earlier export is of another ledger: ledger-1"
    )


def test_a_second_export_of_another_key_is_named() -> None:
    other = bench(3, 3, 2, seed=2)
    assert flaw(other.export(), earlier=EARLIER) == (
        f"1: the earlier export is signed with another key: {GENUINE.key.hex()}"
    )


def test_a_counter_that_went_back_between_two_exports_is_named() -> None:
    restored = bench(3)
    restored.add(3)
    restored.check(counter=1)
    assert flaw(restored.export(), earlier=EARLIER) == (
        "10: the counter of the platform went back from 2 to 1"
    )
