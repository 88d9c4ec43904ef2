"""The state of a log: one hash over all that was recorded, in order, in two forms.

The chain says in which order records were made, with one hash for each. The Merkle tree over the
same records proves that it contains one of them, or continues an earlier state, without the rest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .merkle import EMPTY_TREE, HASH_BYTES, Node, Tree

FIRST_HEAD = bytes(HASH_BYTES)


def chain(before: bytes, content: bytes) -> bytes:
    """Return the hash of a record that follows the one with the hash `before`."""
    return hashlib.sha256(before + content).digest()


@dataclass(frozen=True)
class Log:
    """What must be kept of a log to go on with it; `head` is the chain hash of the last record."""

    head: bytes = FIRST_HEAD
    tree: Tree = EMPTY_TREE

    @property
    def size(self) -> int:
        """Return the number of records, which is the sequence of the last one."""
        return self.tree.size

    @property
    def root(self) -> bytes:
        """Return the hash of the tree."""
        return self.tree.root

    def append(self, content: bytes) -> tuple[Log, tuple[Node, ...]]:
        """Return the log with one more record, and the nodes of the tree to keep for proofs."""
        tree, nodes = self.tree.add(content)
        return Log(chain(self.head, content), tree), nodes


EMPTY_LOG = Log()
