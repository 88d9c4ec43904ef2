"""Bars of numbers in the terminal, as wide as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .output import clean

# Where nobody looks at a terminal, lines are as wide as a terminal was once.
PLAIN_WIDTH = 80
COLOR = "cyan"


@dataclass(frozen=True)
class Column:
    """One bar: what it is, and how long."""

    label: str
    amount: int


def print_chart(console: Console, columns: Sequence[Column]) -> None:
    """Print a bar for each number; the longest one fills the line."""
    width = console.width if console.is_terminal else PLAIN_WIDTH
    longest = max((column.amount for column in columns), default=0)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 2)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    for column in columns:
        # A day with more refunds than charges has no bar.
        bar = Bar(max(1, longest), 0, max(0, column.amount), color=COLOR)
        grid.add_row(Text(clean(column.label)), bar, str(column.amount))
    console.print(grid, width=width)
