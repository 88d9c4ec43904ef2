"""What the key manager does by itself from time to time, a little at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from .batch import Batch
from .journal import Asker, Entry
from .keyring import destroy_version
from .leases import end_leases
from .rows import ApprovalRow, VersionRow
from .using import rule_of

ITSELF = Asker("keymanager")
COUNT_MAX = 256
# In the words of the index of versions that end, else SQLite reads all versions.
ENDED = "WHERE expire_microseconds > 0 AND expire_microseconds <= ? LIMIT ?"


@dataclass(frozen=True)
class Sweep:
    """Destroy versions whose grace time is over, and forget what no decision needs any more."""

    method: ClassVar[str] = ""

    by: Asker = ITSELF

    def decide(self, batch: Batch, _entry: Entry) -> int:
        """Return how much there was to do; if it is much, there may be more."""
        batch.memory.loaded.drop_idle(batch.microseconds)
        limits = (batch.microseconds, COUNT_MAX)
        ended = batch.select(VersionRow, ENDED, limits, name="secrets")
        for version in ended:
            destroy_version(batch, version)
        asked = batch.select(ApprovalRow, ENDED, limits, name="approvals")
        for approval in asked:
            batch.delete(ApprovalRow, approval.name)
        return len(ended) + len(asked) + end_leases(batch, COUNT_MAX) + _forget_counts(batch)


def _forget_counts(batch: Batch) -> int:
    """Delete uses that are in no window any more, of rules that are gone after the longest one."""
    found = 0
    for counter in batch.memory.tallies:
        seconds = batch.policy.window(rule_of(counter))
        before = batch.microseconds - timedelta(seconds=seconds) // timedelta(microseconds=1)
        found += batch.uncount(counter, before, COUNT_MAX - found)
        if found >= COUNT_MAX:
            break
    return found
