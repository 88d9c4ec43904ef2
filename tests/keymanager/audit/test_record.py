"""A record is the same bytes everywhere, and comes back from them unchanged or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import canonical_json
from chassis.evidence.lines import Entry
from chassis.evidence.log import EMPTY_LOG
from keymanager.audit.record import Record, check_chain, content_of, record_of
from keymanager.errors import AuditBroken

RECORD = Record(
    sequence=1,
    time=datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
    caller="runtime",
    agent="agents/trader",
    method="SignMessage",
    secret="secrets/wallet",
    version=2,
    operation="sign-transaction",
    purpose="request",
    verdict="ALLOW",
    rule="rules/small-amounts",
    outcome="OK",
    request_sha256=bytes(range(32)),
    facts={"to": "0xé", "value": 5, "contract": False},
)
CONTENT = (
    '{"agent":"agents/trader","caller":"runtime","facts":{"contract":false,"to":"0xé","value":5},'
    '"method":"SignMessage","operation":"sign-transaction","outcome":"OK","purpose":"request",'
    '"request_sha256":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
    '"rule":"rules/small-amounts","secret":"secrets/wallet","sequence":1,'
    '"time":"2026-01-31T12:30:00.000000Z","verdict":"ALLOW","version":2}'
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
WHOLES = st.integers(-(2**53) + 1, 2**53 - 1)
FACTS = st.dictionaries(
    st.text(st.characters(codec="ascii"), max_size=20), TEXTS | WHOLES | st.booleans(), max_size=5
)
RECORDS = st.builds(
    Record,
    sequence=st.integers(1, 2**53 - 1),
    time=st.datetimes(timezones=st.just(UTC)),
    caller=TEXTS,
    agent=TEXTS,
    method=TEXTS,
    secret=TEXTS,
    version=st.integers(0, 2**31 - 1),
    operation=TEXTS,
    purpose=TEXTS,
    verdict=TEXTS,
    rule=TEXTS,
    outcome=TEXTS,
    request_sha256=st.binary(min_size=32, max_size=32),
    facts=FACTS,
)


def stored(*records: Record) -> list[Entry]:
    """Return records as they are stored."""
    log, entries = EMPTY_LOG, []
    for record in records:
        log, _ = log.append(content_of(record))
        entries.append(Entry(content_of(record), log.head))
    return entries


def test_a_record_is_written_as_ever() -> None:
    assert content_of(RECORD) == CONTENT.encode()


@given(RECORDS)
def test_what_is_written_is_canonical_json(record: Record) -> None:
    content = content_of(record)

    assert content == canonical_json(
        {
            **vars(record),
            "time": f"{record.time.isoformat(timespec='microseconds')[:26]}Z",
            "request_sha256": record.request_sha256.hex(),
        }
    )


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert record_of(content_of(record)) == record


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**53 - 1, b"9007199254740991"),
        (2**53, b'"9007199254740992"'),
        (-(2**53), b'"-9007199254740992"'),
        (10**30, b'"1000000000000000000000000000000"'),
    ],
)
def test_numbers_that_json_does_not_hold_exactly_are_text(value: int, written: bytes) -> None:
    assert b'{"value":%b}' % written in content_of(replace(RECORD, facts={"value": value}))


def test_a_record_that_is_too_large_for_an_export_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="limited"):
        content_of(replace(RECORD, purpose="x" * 128 * 1024))


def test_records_are_read_from_the_middle_on() -> None:
    records = [replace(RECORD, sequence=number) for number in (1, 2, 3)]
    first, *others = stored(*records)

    assert list(check_chain(others, after=1, head=first.chain_hash)) == others


@pytest.mark.parametrize("place", range(3))
def test_a_record_that_was_changed_is_not_read(place: int) -> None:
    entries = stored(*(replace(RECORD, sequence=number) for number in (1, 2, 3)))
    changed = entries[place].content.replace(b"ALLOW", b"DENY")
    entries[place] = Entry(changed, entries[place].chain_hash)

    reading = check_chain(entries, after=0, head=bytes(32))
    assert len([next(reading) for _ in range(place)]) == place
    with pytest.raises(AuditBroken) as broken:
        next(reading)
    assert broken.value.sequence == place + 1
