"""A tree of the beginnings that sequences of tokens have in common."""

from __future__ import annotations

from collections.abc import Sequence


class PrefixTree:
    """Sequences by name, each a path from the root; what two share is one edge.

    `cells` counts the tokens of all edges, `held` those of edges that a pinned sequence runs
    through: a pinned one is in use, the others are only kept.
    """

    def __init__(self) -> None:
        self._root = _Edge((), None)
        self._ends: dict[int, tuple[_Edge, bool]] = {}
        self.cells = self.held = 0

    def shared(self, tokens: Sequence[int]) -> dict[int, int]:
        """Return how many first tokens each sequence has in common with these, if any."""
        found: dict[int, int] = {}
        edge, depth = self._root, 0
        while depth < len(tokens) and tokens[depth] in edge.children:
            edge = edge.children[tokens[depth]]
            same = _same(edge.tokens, tokens, depth)
            depth += same
            found.update(dict.fromkeys(edge.owners, depth))
            if same < len(edge.tokens):
                break
        return found

    def add(self, name: int, tokens: Sequence[int], *, is_pinned: bool) -> None:
        """Lay the path of a sequence."""
        assert name not in self._ends, name
        edge, depth = self._root, 0
        while depth < len(tokens):
            child = edge.children.get(tokens[depth])
            if child is None:
                child = _Edge(tuple(tokens[depth:]), edge)
                edge.children[tokens[depth]] = child
                self.cells += len(child.tokens)
            else:
                same = _same(child.tokens, tokens, depth)
                if same < len(child.tokens):
                    child = self._split(child, same)
            self._enter(child, name, is_pinned=is_pinned)
            edge, depth = child, depth + len(child.tokens)
        self._ends[name] = edge, is_pinned

    def remove(self, name: int) -> None:
        """Take away the path of a sequence, where it is alone."""
        edge, is_pinned = self._ends.pop(name)
        while edge.parent is not None:
            edge.owners.pop(name)
            if is_pinned:
                edge.pins -= 1
                if not edge.pins:
                    self.held -= len(edge.tokens)
            if not edge.owners:
                del edge.parent.children[edge.tokens[0]]
                self.cells -= len(edge.tokens)
            edge = edge.parent

    def _enter(self, edge: _Edge, name: int, *, is_pinned: bool) -> None:
        edge.owners[name] = None
        if is_pinned:
            if not edge.pins:
                self.held += len(edge.tokens)
            edge.pins += 1

    def _split(self, edge: _Edge, size: int) -> _Edge:
        """Put an edge of the first tokens of another before it."""
        assert edge.parent is not None, "the root has no tokens"
        head = _Edge(edge.tokens[:size], edge.parent)
        head.owners, head.pins = dict(edge.owners), edge.pins
        edge.parent.children[head.tokens[0]] = head
        edge.tokens, edge.parent = edge.tokens[size:], head
        head.children[edge.tokens[0]] = edge
        return head


class _Edge:
    """Tokens in a row; `owners` is a set that keeps its order, `pins` counts the pinned of them."""

    __slots__ = ("children", "owners", "parent", "pins", "tokens")

    def __init__(self, tokens: tuple[int, ...], parent: _Edge | None) -> None:
        self.tokens = tokens
        self.parent = parent
        self.children: dict[int, _Edge] = {}
        self.owners: dict[int, None] = {}
        self.pins = 0


def _same(known: Sequence[int], tokens: Sequence[int], start: int) -> int:
    """Return how many tokens of an edge are those of a sequence from a place on."""
    if tuple(tokens[start : start + len(known)]) == known:
        return len(known)
    pairs = zip(known, tokens[start:], strict=False)
    return next(
        (place for place, (one, other) in enumerate(pairs) if one != other),
        min(len(known), len(tokens) - start),
    )
