"""Merkle trees with the hashes of RFC 6962, grown leaf by leaf without the leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

_SIZE_BYTES = 8


@dataclass(frozen=True)
class Node:
    """The root of a complete subtree, over the leaves index * 2^level to (index + 1) * 2^level.

    Who keeps the nodes that `Tree.add` returns can prove anything about the tree, now and as it
    was, with one read for each hash of a proof. There are fewer than two of them for each leaf.
    """

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True)
class Tree:
    """What must be kept of a tree to go on with it: at most one hash for each bit of its size.

    `frontier` has the roots of its complete subtrees, from the largest to the smallest.
    """

    size: int = 0
    frontier: tuple[bytes, ...] = ()

    def add(self, content: bytes) -> tuple[Tree, tuple[Node, ...]]:
        """Return the tree with one more leaf, and the nodes that it completes: first the leaf."""
        node = Node(0, self.size, leaf_hash(content))
        nodes = [node]
        kept = len(self.frontier)
        # The last subtree of the frontier has the size of the lowest bit that is set.
        while self.size >> node.level & 1:
            kept -= 1
            joined = node_hash(self.frontier[kept], node.hash)
            node = Node(node.level + 1, node.index >> 1, joined)
            nodes.append(node)
        return Tree(self.size + 1, (*self.frontier[:kept], node.hash)), tuple(nodes)

    @property
    def root(self) -> bytes:
        """Return the hash over all leaves."""
        return join(self.frontier)

    def to_bytes(self) -> bytes:
        """Return the tree as it is stored."""
        return self.size.to_bytes(_SIZE_BYTES) + b"".join(self.frontier)

    @classmethod
    def from_bytes(cls, content: bytes) -> Tree:
        """Return the tree that was stored; `ValueError` if no tree is stored so."""
        hashes = content[_SIZE_BYTES:]
        starts = range(0, len(hashes), HASH_BYTES)
        frontier = tuple(hashes[start : start + HASH_BYTES] for start in starts)
        tree = cls(int.from_bytes(content[:_SIZE_BYTES]), frontier)
        if len(content) < _SIZE_BYTES or not tree.is_whole:
            raise ValueError("these bytes are no tree")
        return tree

    @property
    def is_whole(self) -> bool:
        """Whether a tree of this size has a frontier of this form."""
        return (
            0 <= self.size < 1 << 8 * _SIZE_BYTES
            and len(self.frontier) == self.size.bit_count()
            and all(len(part) == HASH_BYTES for part in self.frontier)
        )


EMPTY_TREE = Tree()


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf; no inner node has the same."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def join(frontier: Sequence[bytes]) -> bytes:
    """Return the root over adjacent complete subtrees, from the largest to the smallest."""
    if not frontier:
        return EMPTY_ROOT
    *rest, root = frontier
    for part in reversed(rest):
        root = node_hash(part, root)
    return root
