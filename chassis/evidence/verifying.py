"""Checks an exported log without trusting whoever sent it, nor who kept it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from .checkpoint import Checkpoint, is_signed, verify_checkpoint
from .lines import (
    CHECKPOINT_START,
    END_START,
    LINE_BYTES_MAX,
    Header,
    LineInvalid,
    end_content,
    parse_checkpoint,
    parse_end,
    parse_header,
    parse_record,
    sequence_of,
)
from .log import EMPTY_LOG, Log


@dataclass(frozen=True)
class Report:
    """What was found: everything up to the flaw, or everything if `flaw` is empty.

    `line` counts from 1. It is where the flaw shows, for what is missing the line after; without a
    flaw it is the last. Without a header, it is no export at all.
    """

    header: Header | None
    log: Log
    checkpoint: Checkpoint | None
    checkpoint_count: int
    line: int
    flaw: str

    @property
    def record_count(self) -> int:
        """Return how many records are here, which is fewer than the log has if it starts late."""
        return self.log.size - self.header.before.size if self.header else 0


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long a part, which no verifier takes."""
    while line := file.readline(LINE_BYTES_MAX + 1):
        yield line


def verify_export(
    lines: Iterable[bytes], trusted_key: bytes | None = None, earlier: Report | None = None
) -> Report:
    """Check every byte of an export, up to the first flaw.

    Without `trusted_key`, it shows only that the key which the export names signed it; whose key
    that is, somebody else must say. `earlier` is what was found, without a flaw, in an export that
    this one must continue: all of its records must be what they were.
    """
    assert earlier is None or not earlier.flaw, "only what is genuine can be continued"
    reading = _Reading(trusted_key, earlier)
    number = 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007  # the report has it
            reading.take(line)
        reading.finish()
    except LineInvalid as flaw:
        return reading.report(max(number, 1), str(flaw))
    return reading.report(number, "")


class _Reading:
    """An export up to a line; what does not fit raises `LineInvalid`."""

    def __init__(self, trusted_key: bytes | None, earlier: Report | None) -> None:
        self._trusted_key = trusted_key
        self._earlier = earlier
        self._digest = hashlib.sha256()
        self._header: Header | None = None
        self._log = EMPTY_LOG
        self._checkpoint: Checkpoint | None = None
        self._checkpoint_count = 0
        self._is_ended = False

    def report(self, line: int, flaw: str) -> Report:
        return Report(self._header, self._log, self._checkpoint, self._checkpoint_count, line, flaw)

    def take(self, line: bytes) -> None:
        if self._is_ended:
            raise LineInvalid("something was added after the end")
        if len(line) > LINE_BYTES_MAX:
            raise LineInvalid(f"the line has more than {LINE_BYTES_MAX} bytes")
        if not line.endswith(b"\n"):
            raise LineInvalid("the line is cut off")
        if self._header is None:
            self._take_header(line)
        elif line.startswith(CHECKPOINT_START):
            self._take_checkpoint(self._header, parse_checkpoint(line))
        elif line.startswith(END_START):
            self._take_end(self._header, line)
        else:
            self._take_record(line)
        self._digest.update(line)

    def finish(self) -> None:
        if self._header is None:
            raise LineInvalid("the file is empty")
        if not self._is_ended:
            raise LineInvalid(f"the end is missing: nothing follows record {self._log.size}")
        if self._earlier is not None:
            self._compare_ends(self._earlier)

    def _take_header(self, line: bytes) -> None:
        header = self._header = parse_header(line)
        if self._trusted_key not in (None, header.key):
            raise LineInvalid(f"the export is signed with another key: {header.key.hex()}")
        known = self._earlier and self._earlier.header
        if known and known.ledger != header.ledger:
            raise LineInvalid(f"the earlier export is of another ledger: {known.ledger}")
        if known and known.key != header.key:
            raise LineInvalid(f"the earlier export is signed with another key: {known.key.hex()}")
        self._log = header.before
        if self._earlier and header.before.size > self._earlier.log.size:
            raise LineInvalid(
                f"the earlier export ends with record {self._earlier.log.size}, and this one "
                f"begins with record {header.before.size + 1}: export it from an earlier record on"
            )
        self._compare_states()

    def _take_record(self, line: bytes) -> None:
        entry = parse_record(line)
        sequence, expected = sequence_of(entry.content), self._log.size + 1
        log, _ = self._log.append(entry.content)
        if sequence is not None and sequence > expected:
            raise LineInvalid(f"record {expected} is missing: record {sequence} stands here")
        if sequence is not None and sequence < expected:
            raise LineInvalid(f"record {sequence} stands where record {expected} should")
        if sequence is None or log.head != entry.chain_hash:
            raise LineInvalid(f"record {expected} was changed: its hash does not fit")
        self._log = log
        self._compare_states()

    def _take_checkpoint(self, header: Header, checkpoint: Checkpoint) -> None:
        if checkpoint.ledger != header.ledger:
            raise LineInvalid(f"the checkpoint is of another ledger: {checkpoint.ledger}")
        if checkpoint.key != header.key:
            raise LineInvalid(f"the checkpoint is signed with another key: {checkpoint.key.hex()}")
        if not verify_checkpoint(checkpoint):
            raise LineInvalid("the checkpoint is forged: its signature does not fit")
        if checkpoint.size != self._log.size:
            raise LineInvalid(
                f"the checkpoint is of record {checkpoint.size}, but follows {self._log.size}: "
                "records are missing, or it was moved"
            )
        if not checkpoint.describes(self._log):
            raise LineInvalid("the records before the checkpoint are not those that were signed")
        if checkpoint == self._checkpoint:
            raise LineInvalid("the checkpoint stands here twice")
        if self._checkpoint is not None:
            _require_counter(self._checkpoint, checkpoint)
        self._checkpoint = checkpoint
        self._checkpoint_count += 1

    def _take_end(self, header: Header, line: bytes) -> None:
        digest, signature = parse_end(line)
        if not is_signed(end_content(digest), signature, header.key):
            raise LineInvalid("the end is forged: its signature does not fit")
        if digest != self._digest.digest():
            raise LineInvalid("the lines before the end are not those that were signed")
        if self._checkpoint is None or self._checkpoint.size != self._log.size:
            raise LineInvalid(f"record {self._log.size} has no checkpoint after it")
        self._is_ended = True

    def _compare_states(self) -> None:
        """Compare with the earlier export where it ended."""
        earlier = self._earlier
        if earlier and earlier.log.size == self._log.size and earlier.log != self._log:
            raise LineInvalid(
                f"record {self._log.size} or one before it is not what it was in the earlier export"
            )

    def _compare_ends(self, earlier: Report) -> None:
        if self._log.size < earlier.log.size:
            raise LineInvalid(
                f"it ends with record {self._log.size}, but the earlier export with record "
                f"{earlier.log.size}: records are gone, or the two files are exchanged"
            )
        assert earlier.checkpoint is not None, "an export without a flaw has a checkpoint"
        assert self._checkpoint is not None, "the same"
        _require_counter(earlier.checkpoint, self._checkpoint)


def _require_counter(before: Checkpoint, after: Checkpoint) -> None:
    if after.counter < before.counter:
        raise LineInvalid(
            f"the counter of the platform went back from {before.counter} to {after.counter}"
        )
