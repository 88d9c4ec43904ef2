"""Which sequences are in the cache, what they share, and who has to leave it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from .prefixes import PrefixTree

# Which share of those that left comes back, as long as that is not known; and what is assumed at
# least, so that somebody stays for long enough to show that it has risen.
RETURNS = 0.25
RETURNS_MIN = 0.05
# How much of that the next one that left decides.
_SHARE_NEW = 1 / 16


class Cells(Protocol):
    """The cells of llama.cpp: one for each token, however many sequences have it in common."""

    cells: int

    def share(self, source: int, target: int, *, end: int) -> None:
        """Let a sequence begin with the first tokens of another."""

    def forget(self, sequence: int, *, start: int = 0, end: int = -1) -> None:
        """Give back cells of a sequence; all from `start` on without an end."""

    def forget_all(self) -> None:
        """Give back every cell."""


class Resident:
    """A sequence in the cache: its tokens, of which the first `computed` are there.

    `cached` of them were there before. `reserved` are the cells that it may take beyond the tokens
    that it came with. It waits until `leader` has computed `leader_end`.
    """

    __slots__ = (
        "cached",
        "computed",
        "is_wanted",
        "leader",
        "leader_end",
        "left_at",
        "name",
        "prompt_tokens",
        "reserved",
        "tokens",
    )

    def __init__(self, name: int, tokens: Sequence[int], reserved: int) -> None:
        self.name = name
        self.tokens = list(tokens)
        self.prompt_tokens = len(tokens)
        self.reserved = reserved
        self.computed = self.cached = 0
        self.leader: Resident | None = None
        self.leader_end = 0
        self.left_at = 0
        self.is_wanted = False


class PrefixCache:
    """Lets sequences in as long as all of them can come to their end.

    What left stays until its cells are needed: a sequence that begins in the same way takes those
    over. Who begins as one that is still being read waits for it. Without `shares`, for models
    that can do none of this, everybody computes everything.

    Every row that is computed passes over all cells of others, which takes time: after
    `patience` rows as much as computing what they hold again. So whoever left has to go after that
    share of those rows that is the share of those who come back, which is learned (ski rental with
    a known chance of return; Karlin et al., Competitive Snoopy Caching, 1988).
    """

    def __init__(
        self, cells: Cells, *, running_max: int, kept_max: int, shares: bool, patience: int
    ) -> None:
        self._cells = cells
        self._kept_max = kept_max if shares else 0
        self._shares = shares
        self._tree = PrefixTree()
        self._running: dict[int, Resident] = {}
        self._kept: OrderedDict[int, Resident] = OrderedDict()
        self._free = [*reversed(range(running_max + self._kept_max))]
        self._reserved = 0
        self._patience = patience
        self._returns = RETURNS
        self._rows = 0
        # The last token of a prompt is computed again for its scores, beside one that is shared.
        self._room = cells.cells - running_max - self._kept_max

    @property
    def cells_used(self) -> int:
        """Return how many cells hold tokens or are spoken for."""
        return self._tree.cells + self._reserved

    @property
    def cells_running(self) -> int:
        """Return how many of them belong to sequences in use."""
        return self._tree.held + self._reserved

    def admit(self, tokens: Sequence[int], *, reserved: int) -> Resident | None:
        """Let a sequence in that may grow by so many tokens; None if it has to wait for cells."""
        resident = Resident(self._free[-1], tokens, reserved)
        path = tokens if self._shares else ()
        resident.reserved += len(tokens) - len(path)
        self._tree.add(resident.name, path, is_pinned=True)
        if self.cells_running + resident.reserved > self._room:
            self._tree.remove(resident.name)
            return None
        self._free.pop()
        self._reserved += resident.reserved
        self._running[resident.name] = resident
        # What is shared is taken over before whoever had it may have to go.
        self.follow(resident)
        while self._kept and self.cells_used > self._room:
            self._drop_oldest()
        assert self.cells_used <= self._room, "who stays was counted before"
        return resident

    def pass_over(self, rows: int) -> None:
        """Take notice of rows that were computed; who was passed over for too long has to go."""
        self._rows += rows
        while self._kept:
            oldest = next(iter(self._kept.values()))
            share = max(RETURNS_MIN, self._returns)
            if self._rows - oldest.left_at <= share * self._patience:
                return
            self._drop(oldest.name)

    def is_waiting(self, resident: Resident) -> bool:
        """Tell whether a sequence waits for its leader; takes over what that has computed."""
        leader = resident.leader
        if leader is None:
            return False
        is_there = self._running.get(leader.name) is leader
        if not is_there or leader.computed >= resident.leader_end:
            self.follow(resident)
        return resident.leader is not None

    def follow(self, resident: Resident) -> None:
        """Take over what others have computed, and find who computes more of the same."""
        resident.leader = None
        # The scores of the last token are not in the cache.
        shared = self._tree.shared(resident.tokens[: resident.prompt_tokens - 1])
        shared.pop(resident.name, None)
        source, most = self._most_computed(shared, self._running)
        kept, more = self._most_computed(shared, self._kept)
        if kept is not None and more > most:
            # A few words that two have in common by chance are no return.
            if 2 * (more - most) > len(kept.tokens) - most:
                kept.left_at, kept.is_wanted = self._rows, True
                self._kept.move_to_end(kept.name)
            source, most = kept, more
        if source is not None and most > resident.computed:
            self._take_over(source, resident, most)
            resident.computed = resident.cached = most
        most = resident.computed
        # Dictionaries keep their order: only who came earlier leads, so nobody waits in a circle.
        for name, other in self._running.items():
            if other is resident:
                return
            if shared.get(name, 0) > most:
                resident.leader, resident.leader_end = other, shared[name]
                most = shared[name]

    def forget_guess(self, resident: Resident) -> None:
        """Give back what a sequence has beyond the tokens that it has computed."""
        self._cells.forget(resident.name, start=resident.computed)

    def release(self, resident: Resident) -> None:
        """Let a sequence leave; what it has computed stays for others."""
        name = resident.name
        del self._running[name]
        self._reserved -= resident.reserved
        self._tree.remove(name)
        known = resident.tokens[: resident.computed]
        shared = self._tree.shared(known)
        source, most = self._most_computed(shared, self._running | self._kept)
        if not self._kept_max or most == len(known):
            self._cells.forget(name)
            self._free.append(name)
            return
        self._cells.forget(name, start=len(known))
        if source is not None and most > resident.cached:
            # Both wrote the same after the prompt.
            self._take_over(source, resident, most)
        for other in [other for other in shared if other in self._kept]:
            # Who is the beginning of this one is of no more use.
            if len(self._kept[other].tokens) == shared[other]:
                self._drop(other)
        resident.tokens, resident.leader = known, None
        resident.left_at = self._rows
        self._tree.add(name, known, is_pinned=False)
        self._kept[name] = resident
        if len(self._kept) > self._kept_max:
            self._drop_oldest()

    def drop_kept(self) -> None:
        """Let all sequences go that are not in use."""
        while self._kept:
            self._drop_oldest()

    def clear(self) -> None:
        """Forget what everybody has computed, after a failure."""
        for resident in self._running.values():
            resident.computed = 0
        self.drop_kept()
        self._cells.forget_all()

    @staticmethod
    def _most_computed(
        shared: Mapping[int, int], residents: Mapping[int, Resident]
    ) -> tuple[Resident | None, int]:
        """Return who of them has computed most of what is shared, and how much that is."""
        found = [
            (residents[name], min(count, residents[name].computed))
            for name, count in shared.items()
            if name in residents
        ]
        return max(found, key=lambda one: one[1], default=(None, 0))

    def _take_over(self, source: Resident, target: Resident, end: int) -> None:
        self._cells.forget(target.name, end=end)
        self._cells.share(source.name, target.name, end=end)

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._kept)))

    def _drop(self, name: int) -> None:
        dropped = self._kept.pop(name)
        self._returns += _SHARE_NEW * (dropped.is_wanted - self._returns)
        self._tree.remove(name)
        self._cells.forget(name)
        self._free.append(name)
