"""Shelves for the tests of the linker, with a hub in memory."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from linker.errors import HubFileNotFound
from linker.ports import HubFile, HubSource
from linker.progress import Progress, Report
from linker.providers.shelf import Shelf
from tests.linker.test_gguf import GOOD, file_of

REPOSITORY = "owner/tiny-GGUF"
FILE = "tiny-Q8_0.gguf"
SOURCE = HubSource(REPOSITORY, FILE)
TINY = file_of(*GOOD) + bytes(3_000)
BLOCK_BYTES = 1_000


@dataclass
class MemoryHub:
    """A hub of files in memory, which stops where it is told to."""

    files: dict[tuple[str, str], bytes] = field(default_factory=lambda: {(REPOSITORY, FILE): TINY})
    knows_sha256: bool = True
    failures: deque[Exception] = field(default_factory=deque)
    starts: list[int] = field(default_factory=list)
    bad_bytes: bytes = b""
    size_told: int = 0
    block_bytes: int = BLOCK_BYTES

    def fail_next(self, error: Exception) -> None:
        """Fail the next fetch after its first block."""
        self.failures.append(error)

    def find(self, source: HubSource) -> HubFile:
        content = self.files.get((source.repository, source.file))
        if content is None:
            raise HubFileNotFound(f"file {source.file}", "look for it")
        sha256 = hashlib.sha256(content).hexdigest() if self.knows_sha256 else ""
        return HubFile("memory:", self.size_told or len(content), sha256)

    def fetch(self, source: HubSource, file: HubFile, target: BinaryIO, report: Report) -> None:
        content = self.bad_bytes or self.files[source.repository, source.file]
        self.starts.append(target.seek(0, 2))
        while block := content[target.tell() :][: self.block_bytes]:
            target.write(block)
            if self.failures:
                raise self.failures.popleft()
            report(Progress(target.tell(), len(content)))


def make_shelf(folder: Path, hub: MemoryHub | None = None) -> Shelf:
    """Return a shelf on a folder."""
    found = hub or MemoryHub()
    return Shelf(folder, lambda: found)


def ignore(_: Progress) -> None:
    """Be told, and do nothing."""


def number_pair(key: bytes, value: int) -> bytes:
    """Return a number of a header."""
    return struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, value)
