"""Marks: what peers remember of the audit log, and what it means when they show it.

The key is derived from the key of the log. So a copy of the vault that was put back knows the marks
of the one that it replaced, and nobody else can make one: a stranger with a number stops nothing.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from chassis.evidence.log import Log

from .batch import Memory
from .sql import Cursor
from .store import VaultStore

# How many marks are known without looking: those that were given out last.
KNOWN_MAX = 4_096
_HEAD_BYTES = 16
_TAG_BYTES = 16


class Marks:
    """Makes marks, and heeds them; in the thread of the server alone."""

    def __init__(self, store: VaultStore) -> None:
        self._store = store
        self._known: OrderedDict[str, None] = OrderedDict()
        self._log: Log | None = None
        self._present = ""

    @property
    def present(self) -> str:
        """Return the mark of the last record."""
        present = self._store.memory.anchor.log
        if present is not self._log:
            self._log, self._present = present, self._make(present.size, present.head)
            self._remember(self._present)
        return self._present

    def heed(self, mark: str) -> None:
        """Refuse everything from now on if a mark of ours is of a record that is not here."""
        if not mark or mark in self._known or not self._store.is_open:
            return
        found = self._read(mark)
        if found is None:
            return
        sequence, head = found
        memory = self._store.memory
        if sequence <= memory.anchor.accepted_sequence:
            return
        last = memory.anchor.log.size
        if sequence > last:
            self._store.refuse_all(f"a peer saw record {sequence}, the last one is {last}")
        elif self._head(sequence) != head:
            self._store.refuse_all(f"a peer saw another record {sequence} than the one here")
        else:
            self._remember(mark)

    def _make(self, sequence: int, head: bytes) -> str:
        own = self._store.memory.own
        content = f"{own.ledger}:{sequence}:{head[:_HEAD_BYTES].hex()}"
        tag = own.mark.digest(content.encode())[:_TAG_BYTES]
        return f"{content}:{tag.hex()}"

    def _read(self, mark: str) -> tuple[int, bytes] | None:
        """Return sequence and hash of a mark that was made with our key, or None."""
        try:
            _, sequence, head, _ = mark.split(":")
            found = int(sequence), bytes.fromhex(head)
        except ValueError:
            return None
        made = self._make(*found)
        return found if hmac.compare_digest(made.encode(), mark.encode()) else None

    def _head(self, sequence: int) -> bytes:
        def query(cursor: Cursor, _: Memory) -> bytes:
            cursor.execute("SELECT chain_hash FROM record WHERE sequence = ?", (sequence,))
            (head,) = cursor.fetchone() or (b"",)
            assert isinstance(head, bytes), "the table says so"
            return head[:_HEAD_BYTES]

        return self._store.read(query)

    def _remember(self, mark: str) -> None:
        self._known[mark] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
