"""What must be true of all rows together: the anchor, and the sum that it vouches for.

A MAC says that a row was written here once; only the sum says that no row is missing, and that each
is the latest of its kind. It is an AdHash: the sum modulo 2^256 of a keyed hash of every row, so a
change costs the same however many rows there are. Neither the hashes nor the sum are ever stored;
who knew many of them could search for other rows with the same sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from chassis.evidence.log import Log
from chassis.evidence.merkle import Tree

from .errors import SealBroken
from .rows import GUARDED, Row
from .sealing import EPOCH_BYTES, EpochKey, encode

_MODULUS = 1 << 256

# The table of a row, and its key there.
Key: TypeAlias = tuple[str | int | bytes, ...]
Place: TypeAlias = tuple[type[Row], Key]
Epochs: TypeAlias = Mapping[bytes, EpochKey]

_KEYS = {row: len(table.primary_key.columns) for row, table in GUARDED.items()}
_NAMES = {row: table.name for row, table in GUARDED.items()}


class Stamp(NamedTuple):
    """The last two columns of a row."""

    epoch: bytes
    mac: bytes


def place_of(row: Row) -> Place:
    """Return where a row belongs."""
    return type(row), tuple(row[: _KEYS[type(row)]])


def stamped(row: Row, epoch: EpochKey) -> Row:
    """Return a row as it is stored: with the MAC of an epoch."""
    content = encode(_NAMES[type(row)], *row[:-2], epoch.epoch)
    return row._replace(epoch=epoch.epoch, mac=epoch.row_mac(content))


def is_authentic(row: Row, epochs: Epochs) -> bool:
    """Tell whether a row was written here, at some time."""
    epoch = epochs.get(row.epoch)
    if epoch is None or not has_cells(row):
        return False
    return epoch.row_mac(encode(_NAMES[type(row)], *row[:-2], row.epoch)) == row.mac


def has_cells(row: Row) -> bool:
    """Tell whether a row has nothing but what a table of ours holds; a file may have more."""
    return all(type(cell) in _CELLS for cell in row)


_CELLS = frozenset({int, str, bytes})


class Register:
    """The stamps of all rows, and their sum."""

    def __init__(self) -> None:
        self.stamps: dict[Place, Stamp] = {}
        self.total = 0

    def change(self, changes: Mapping[Place, Stamp | None], total: int) -> None:
        """Take over what a transaction wrote; None is a row that it deleted."""
        for place, stamp in changes.items():
            if stamp is None:
                self.stamps.pop(place, None)
            else:
                self.stamps[place] = stamp
        self.total = total


def total_after(
    total: int, place: Place, *, old: Stamp | None, new: Stamp | None, epochs: Epochs
) -> int:
    """Return the sum after one row changed."""
    if old is not None:
        total -= _addend(place, old, epochs)
    if new is not None:
        total += _addend(place, new, epochs)
    return total % _MODULUS


def _addend(place: Place, stamp: Stamp, epochs: Epochs) -> int:
    row, key = place
    return epochs[stamp.epoch].addend(encode(_NAMES[row], *key, stamp.mac))


@dataclass(frozen=True)
class Anchor:
    """One row that says how everything was after the last commit.

    `counter` is what the platform's counter is, or becomes right after the commit. The first of
    `epochs` is in use, the others are being left.
    """

    log: Log
    counter: int
    epochs: tuple[bytes, ...]
    accepted_sequence: int = 0

    def mac(self, epoch: EpochKey, total: int) -> bytes:
        """Return what vouches for this anchor together with the sum over all rows."""
        return epoch.anchor_mac(
            encode(
                self.log.head,
                self.log.tree.to_bytes(),
                self.counter,
                b"".join(self.epochs),
                self.accepted_sequence,
                total.to_bytes(32),
            )
        )


class AnchorRow(NamedTuple):
    """An anchor as it is stored."""

    id: int
    head: bytes
    tree: bytes
    counter: int
    epochs: bytes
    accepted_sequence: int
    mac: bytes

    @classmethod
    def of(cls, anchor: Anchor, mac: bytes) -> AnchorRow:
        tree, epochs = anchor.log.tree.to_bytes(), b"".join(anchor.epochs)
        return cls(1, anchor.log.head, tree, anchor.counter, epochs, anchor.accepted_sequence, mac)

    def anchor(self) -> Anchor:
        """Return the anchor, or raise `SealBroken`; whether it is authentic the MAC says."""
        try:
            tree = Tree.from_bytes(self.tree)
            starts = range(0, len(self.epochs), EPOCH_BYTES)
            epochs = tuple(self.epochs[start : start + EPOCH_BYTES] for start in starts)
            found = Anchor(
                Log(self.head, tree), int(self.counter), epochs, int(self.accepted_sequence)
            )
        except (TypeError, ValueError) as error:
            raise SealBroken("anchor") from error
        if not epochs:
            raise SealBroken("anchor")
        return found
