"""The trees are those of RFC 6962, whichever way they grew."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.evidence.merkle import EMPTY_ROOT, EMPTY_TREE, Tree, node_hash

# The leaves and roots of the reference implementation of Certificate Transparency.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]


def grow(leaves: list[bytes]) -> Tree:
    tree = EMPTY_TREE
    for leaf in leaves:
        tree, _ = tree.add(leaf)
    return tree


def root_by_definition(leaves: list[bytes]) -> bytes:
    """Return the Merkle tree hash exactly as section 2.1 of RFC 6962 defines it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    middle = 1
    while 2 * middle < len(leaves):
        middle *= 2
    left, right = root_by_definition(leaves[:middle]), root_by_definition(leaves[middle:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert grow(LEAVES[:size]).root == ROOTS[size]


def test_the_root_is_that_of_the_definition_at_any_size() -> None:
    leaves = [bytes([number]) for number in range(130)]
    tree = EMPTY_TREE
    for size, leaf in enumerate(leaves, start=1):
        tree, _ = tree.add(leaf)
        assert tree.root == root_by_definition(leaves[:size])


def test_the_nodes_that_leaves_complete_are_the_complete_subtrees() -> None:
    leaves = [bytes([number]) for number in range(100)]
    tree, found = EMPTY_TREE, {}
    for leaf in leaves:
        tree, nodes = tree.add(leaf)
        found.update({(node.level, node.index): node.hash for node in nodes})

    assert found == {
        (level, index): root_by_definition(leaves[index << level : index + 1 << level])
        for level in range(7)
        for index in range(100 >> level)
    }


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    assert EMPTY_TREE.root == EMPTY_ROOT


@given(st.integers(0, 300))
def test_a_tree_is_stored_and_comes_back(size: int) -> None:
    tree = grow([b"x"] * size)

    assert Tree.from_bytes(tree.to_bytes()) == tree


@given(st.integers(0, 300), st.data())
def test_a_tree_that_was_cut_or_lengthened_is_refused(size: int, data: st.DataObject) -> None:
    stored = grow([b"x"] * size).to_bytes()
    cut = stored[: data.draw(st.integers(0, len(stored) - 1))]
    for changed in (cut, stored + data.draw(st.binary(min_size=1, max_size=40))):
        with pytest.raises(ValueError, match="no tree"):
            Tree.from_bytes(changed)


def test_a_leaf_is_no_inner_node() -> None:
    left, right = grow([b"a"]).root, grow([b"b"]).root

    assert grow([left + right]).root != node_hash(left, right)
