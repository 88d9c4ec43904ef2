"""How a large file comes in: a bar for people, a line of JSON for each percent for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .output import clean, error_console, print_json

PERCENT = 100


class Transfer(Protocol):
    """What is told how far a transfer has come."""

    def show(self, received_bytes: int, total_bytes: int) -> None:
        """Show it."""


@contextmanager
def choose_transfer(name: str, *, as_json: bool) -> Iterator[Transfer]:
    """Give a view of the transfer of a model."""
    if as_json:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=error_console(), transient=True) as progress:
        yield _Bar(progress, clean(name))


def bytes_text(size: int) -> str:
    """Return a size in decimal units, as disks and hubs count."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004  # a unit


class _Lines:
    def __init__(self) -> None:
        self._percent = -1

    def show(self, received_bytes: int, total_bytes: int) -> None:
        percent = PERCENT * received_bytes // max(1, total_bytes)
        if percent != self._percent:
            self._percent = percent
            print_json({"received_bytes": received_bytes, "total_bytes": total_bytes})


class _Bar:
    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._task = progress.add_task(name, total=None)

    def show(self, received_bytes: int, total_bytes: int) -> None:
        is_whole = received_bytes == total_bytes
        self._progress.update(
            self._task,
            completed=received_bytes,
            total=total_bytes,
            description=f"{self._name} is checked" if is_whole else self._name,
        )
