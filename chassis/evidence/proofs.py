"""Proofs that a tree contains a leaf, and that it continues an earlier one (RFC 9162)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .merkle import EMPTY_ROOT, HASH_BYTES, join, node_hash

# Returns the hash of the complete subtree of a level and an index; level 0 has the leaves.
ReadNode: TypeAlias = Callable[[int, int], bytes]


def root_at(read: ReadNode, size: int) -> bytes:
    """Return the root that the tree had when it had this many leaves."""
    return _root(read, 0, size)


def inclusion_proof(read: ReadNode, index: int, size: int) -> tuple[bytes, ...]:
    """Return what proves that a leaf, counted from 0, is in the tree of this size."""
    assert 0 <= index < size, "the leaf is in the tree"
    proof = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_root(read, middle, high))
            high = middle
        else:
            proof.append(_root(read, low, middle))
            low = middle
    return tuple(reversed(proof))


def consistency_proof(read: ReadNode, before: int, size: int) -> tuple[bytes, ...]:
    """Return what proves that the tree of this size begins with all leaves of an earlier one."""
    assert 0 <= before <= size, "a tree only grows"
    if before == 0:
        return ()
    proof = []
    low, high = 0, size
    while high > before:
        middle = low + _split(high - low)
        if before <= middle:
            proof.append(_root(read, middle, high))
            high = middle
        else:
            proof.append(_root(read, low, middle))
            low = middle
    # Who verifies knows the earlier root; any other subtree must be told.
    if low > 0:
        proof.append(_root(read, low, high))
    return tuple(reversed(proof))


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether a leaf, given as its hash, is in the tree (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes([leaf, *proof]):
        return False
    place, last = index, size - 1
    found = leaf
    for part in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(part, found)
            place, last = _climb(place, last)
        else:
            found = node_hash(found, part)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    *, before: int, root_before: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether a tree begins with all leaves of an earlier one (RFC 9162 2.1.4.2).

    Every tree begins with the empty one, which needs no proof.
    """
    if not 0 <= before <= size or not _are_hashes(proof):
        return False
    if before in (0, size):
        return not proof and root_before == (root if before == size else EMPTY_ROOT)
    parts = list(proof)
    if before & (before - 1) == 0:
        parts.insert(0, root_before)
    if not parts:
        return False
    place, last = before - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(part, old), node_hash(part, new)
            place, last = _climb(place, last)
        else:
            new = node_hash(new, part)
        place, last = place >> 1, last >> 1
    return last == 0 and (old, new) == (root_before, root)


def _climb(place: int, last: int) -> tuple[int, int]:
    """Skip the levels on which the last node of an incomplete tree has no sibling."""
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last


def _are_hashes(proof: Sequence[bytes]) -> bool:
    # Parts of other lengths could be cut elsewhere and give the same hash.
    return all(len(part) == HASH_BYTES for part in proof)


def _split(count: int) -> int:
    """Return how many of `count` leaves are left of the root: a power of two."""
    return 1 << (count - 1).bit_length() - 1


def _root(read: ReadNode, low: int, high: int) -> bytes:
    """Return the root over a subtree, of which at most the right edge is incomplete."""
    parts = []
    while low < high:
        level = (high - low).bit_length() - 1
        assert low % (1 << level) == 0, "a subtree begins where it may"
        parts.append(read(level, low >> level))
        low += 1 << level
    return join(parts)
