"""Proofs hold for everything that is so, and for nothing that is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from chassis.evidence.merkle import EMPTY_ROOT, EMPTY_TREE, leaf_hash
from chassis.evidence.proofs import (
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)

from .test_merkle import LEAVES, ROOTS

SIZE_MAX = 64

# Of the reference implementation: index, size, proof.
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
# The same: earlier size, size, proof.
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


class Nodes:
    """The nodes of a tree, as a store keeps them; counts what is read."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._hashes = {}
        self.reads = 0
        tree = EMPTY_TREE
        for leaf in leaves:
            tree, nodes = tree.add(leaf)
            self._hashes.update({(node.level, node.index): node.hash for node in nodes})

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self._hashes[level, index]


NUMBERS = [number.to_bytes(2) for number in range(SIZE_MAX)]
TREE = Nodes(NUMBERS)
ROOT = [root_at(TREE.read, size) for size in range(SIZE_MAX + 1)]


def is_in(index: int, size: int, proof: Sequence[bytes], *, leaf: int | None = None) -> bool:
    content = NUMBERS[index if leaf is None else leaf]
    return verify_inclusion(
        leaf_hash(content), index=index, size=size, root=ROOT[size], proof=proof
    )


def continues(before: int, size: int, proof: Sequence[bytes]) -> bool:
    return verify_consistency(
        before=before, root_before=ROOT[before], size=size, root=ROOT[size], proof=proof
    )


def flipped(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield the proof with each of its bits flipped."""
    for place, part in enumerate(proof):
        for bit in range(8 * len(part)):
            changed = (int.from_bytes(part) ^ 1 << bit).to_bytes(len(part))
            yield [*proof[:place], changed, *proof[place + 1 :]]


@pytest.mark.parametrize(("index", "size", "wanted"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_reference(
    index: int, size: int, wanted: list[str]
) -> None:
    proof = inclusion_proof(Nodes(LEAVES).read, index, size)

    assert [part.hex() for part in proof] == wanted
    assert verify_inclusion(
        leaf_hash(LEAVES[index]), index=index, size=size, root=ROOTS[size], proof=proof
    )


@pytest.mark.parametrize(("before", "size", "wanted"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_reference(
    before: int, size: int, wanted: list[str]
) -> None:
    proof = consistency_proof(Nodes(LEAVES).read, before, size)

    assert [part.hex() for part in proof] == wanted
    assert verify_consistency(
        before=before, root_before=ROOTS[before], size=size, root=ROOTS[size], proof=proof
    )


def test_every_leaf_of_every_tree_is_proven() -> None:
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            assert is_in(index, size, inclusion_proof(TREE.read, index, size))


def test_every_tree_is_proven_to_continue_every_smaller_one() -> None:
    for size in range(SIZE_MAX + 1):
        for before in range(size + 1):
            assert continues(before, size, consistency_proof(TREE.read, before, size))


def test_no_flipped_bit_of_an_inclusion_proof_is_accepted() -> None:
    for size in range(1, 9):
        for index in range(size):
            proof = inclusion_proof(TREE.read, index, size)
            assert not any(is_in(index, size, changed) for changed in flipped(proof))


def test_no_flipped_bit_of_a_consistency_proof_is_accepted() -> None:
    for size in range(1, 9):
        for before in range(1, size):
            proof = consistency_proof(TREE.read, before, size)
            assert not any(continues(before, size, changed) for changed in flipped(proof))


def test_no_other_leaf_or_place_is_accepted() -> None:
    for size in range(1, 17):
        for index in range(size):
            proof = inclusion_proof(TREE.read, index, size)
            others = [other for other in range(size) if other != index]
            assert not any(is_in(index, size, proof, leaf=other) for other in others)
            assert not any(is_in(other, size, proof, leaf=index) for other in others)


def test_no_proof_that_is_longer_or_shorter_is_accepted() -> None:
    for size in range(1, 17):
        for index in range(size):
            proof = inclusion_proof(TREE.read, index, size)
            assert not is_in(index, size, [*proof, bytes(32)])
            assert not proof or not is_in(index, size, proof[:-1])
            assert not proof or not is_in(index, size, proof[1:])
            joined = b"".join(proof)
            assert len(proof) < 2 or not is_in(index, size, [joined])


def test_no_hashes_that_were_cut_elsewhere_are_accepted() -> None:
    leaf, [sibling] = leaf_hash(NUMBERS[1]), inclusion_proof(TREE.read, 1, 2)
    joined = sibling + leaf
    for at in (0, 31, 33, 64):
        assert not verify_inclusion(joined[at:], index=1, size=2, root=ROOT[2], proof=[joined[:at]])


def test_no_larger_size_is_accepted_with_the_proof_of_a_smaller_one() -> None:
    assert not verify_inclusion(
        leaf_hash(NUMBERS[0]),
        index=0,
        size=3,
        root=ROOT[2],
        proof=inclusion_proof(TREE.read, 0, 2),
    )
    assert not verify_consistency(
        before=1,
        root_before=ROOT[1],
        size=3,
        root=ROOT[2],
        proof=consistency_proof(TREE.read, 1, 2),
    )


def test_no_other_tree_is_accepted_as_the_earlier_one() -> None:
    for size in range(1, 17):
        for before in range(size):
            proof = consistency_proof(TREE.read, before, size)
            assert not continues(before, size, [*proof, bytes(32)])
            assert not proof or not continues(before, size, proof[:-1])
            for root in (bytes(32), ROOT[before + 1]):
                assert not verify_consistency(
                    before=before, root_before=root, size=size, root=ROOT[size], proof=proof
                )


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (5, 4)])
def test_a_leaf_outside_of_the_tree_is_in_none(index: int, size: int) -> None:
    assert not verify_inclusion(bytes(32), index=index, size=size, root=bytes(32), proof=[])


@pytest.mark.parametrize(("before", "size"), [(-1, 4), (5, 4), (3, 4), (2, 4)])
def test_sizes_that_need_a_proof_are_not_accepted_without(before: int, size: int) -> None:
    assert not verify_consistency(
        before=before, root_before=ROOT[abs(before)], size=size, root=ROOT[size], proof=[]
    )


def test_a_tree_begins_with_the_empty_one_only_under_its_root() -> None:
    assert continues(0, 5, [])
    assert not verify_consistency(before=0, root_before=bytes(32), size=5, root=ROOT[5], proof=[])
    assert ROOT[0] == EMPTY_ROOT


def test_a_proof_takes_few_reads() -> None:
    tree = Nodes([b"x"] * 1_000)
    for before in range(1, 1_000, 37):
        tree.reads = 0
        consistency_proof(tree.read, before, 1_000)
        inclusion_proof(tree.read, before, 1_000)
        assert tree.reads <= 4 * 10
