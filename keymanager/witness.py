"""What an operator does when peers remember more than the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .batch import Batch
from .journal import Asker, Entry


@dataclass(frozen=True)
class AcceptRollback:
    """Go on although others saw records up to a sequence; they are lost, and this is recorded."""

    method: ClassVar[str] = "AcceptRollback"

    by: Asker
    sequence: int

    def decide(self, batch: Batch, entry: Entry) -> None:
        entry.facts = {"accepted_sequence": self.sequence}
        batch.accepted_sequence = max(batch.accepted_sequence, self.sequence)
        batch.is_counted = True
