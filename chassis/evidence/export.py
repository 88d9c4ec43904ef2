"""Writing a log out, line by line, for somebody who does not trust its owner."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter

from .checkpoint import Checkpoint, Sign
from .lines import (
    Entry,
    Header,
    checkpoint_line,
    end_content,
    end_line,
    header_line,
    record_line,
)

_RECORD, _CHECKPOINT = range(2)


def export_lines(
    header: Header, entries: Iterable[Entry], checkpoints: Iterable[Checkpoint], sign: Sign
) -> Iterator[bytes]:
    """Yield the lines of an export, holding none of them.

    `entries` are all that follow `header.before`; `checkpoints` all that were made since, in their
    order, the last one of the last entry (of `header.before` if there is no entry).
    """
    digest = hashlib.sha256()
    for line in _lines(header, entries, checkpoints):
        digest.update(line)
        yield line
    yield end_line(digest.digest(), sign(end_content(digest.digest())))


def _lines(
    header: Header, entries: Iterable[Entry], checkpoints: Iterable[Checkpoint]
) -> Iterator[bytes]:
    yield header_line(header)
    size, kind = header.before.size, _RECORD
    records = (
        (sequence, _RECORD, record_line(entry))
        for sequence, entry in enumerate(entries, start=size + 1)
    )
    marks = ((mark.size, _CHECKPOINT, checkpoint_line(mark)) for mark in checkpoints)
    for sequence, kind, line in heapq.merge(records, marks, key=itemgetter(0, 1)):
        size += kind == _RECORD
        assert sequence == size, "checkpoints are in order, and of records that are here"
        yield line
    assert kind == _CHECKPOINT, "the last checkpoint is of the last record"
