"""A log in memory, as a service keeps it, for tests to export and to forge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.canonical import canonical_json
from chassis.evidence.checkpoint import Checkpoint, sign_checkpoint
from chassis.evidence.export import export_lines
from chassis.evidence.lines import Entry, Header
from chassis.evidence.log import EMPTY_LOG

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEDGER = "ledger-1"


class Bench:
    """A log with a key of its own; `nodes` is what proofs read."""

    def __init__(self, *, seed: int = 1, ledger: str = LEDGER) -> None:
        private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32))
        self.key = private.public_key().public_bytes_raw()
        self.sign = private.sign
        self.ledger = ledger
        self.states = [EMPTY_LOG]
        self.entries: list[Entry] = []
        self.checkpoints: list[Checkpoint] = []
        self.nodes: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        return len(self.entries)

    def add(self, count: int = 1, text: str = "é") -> None:
        for _ in range(count):
            content = canonical_json({"facts": {"n": 1}, "sequence": self.size + 1, "text": text})
            log, nodes = self.states[-1].append(content)
            self.states.append(log)
            self.entries.append(Entry(content, log.head))
            self.nodes.update({(node.level, node.index): node.hash for node in nodes})

    def check(self, counter: int = 1) -> Checkpoint:
        """Make a checkpoint of the last record."""
        checkpoint = sign_checkpoint(
            self.states[-1],
            ledger=self.ledger,
            counter=counter,
            time=START + timedelta(seconds=len(self.checkpoints)),
            key=self.key,
            sign=self.sign,
        )
        self.checkpoints.append(checkpoint)
        return checkpoint

    def export(self, *, first: int = 1, last: int | None = None) -> list[bytes]:
        size = self.size if last is None else last
        before = self.states[first - 1]
        marks = [mark for mark in self.checkpoints if before.size <= mark.size <= size]
        header = Header(self.ledger, self.key, before)
        return list(export_lines(header, self.entries[first - 1 : size], marks, self.sign))


def bench(*sizes: int, seed: int = 1, ledger: str = LEDGER) -> Bench:
    """Return a log with a checkpoint after each of these numbers of records."""
    made = Bench(seed=seed, ledger=ledger)
    for counter, size in enumerate(sizes, start=1):
        made.add(size)
        made.check(counter)
    return made
