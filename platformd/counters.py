"""One counter for each role that only goes up, durable before anybody hears of it."""

from __future__ import annotations

from pathlib import Path

from . import protocol
from .errors import PlatformUnusable
from .root import Root, replace_file

_PURPOSE = "counters"


class Counters:
    """The file of the counters, under a MAC of the root: `<role>` -> `<value> <last request>`."""

    def __init__(self, path: Path, root: Root) -> None:
        """Raise PlatformUnusable if the file is missing or somebody else wrote it."""
        self._path = path
        self._root = root
        content = root.open_mark(_PURPOSE, path.read_bytes()) if path.exists() else None
        if content is None:
            raise PlatformUnusable(
                f"{path} is missing or was changed: counters would go back; restore the whole "
                "folder from its last backup"
            )
        self._counters = {
            role: str(entry).split(" ") for role, entry in protocol.decode(content).items()
        }

    @staticmethod
    def make(path: Path, root: Root) -> None:
        """Write the file of a platform that has counted nothing yet."""
        replace_file(path, root.seal_mark(_PURPOSE, protocol.encode({})))

    def read(self, role: str) -> int:
        """Return the counter; 0 before the first increment."""
        return int(self._counters[role][0]) if role in self._counters else 0

    def increment(self, role: str, request: str) -> int:
        """Return one more than before, durably; a repeated request returns what it returned."""
        if role in self._counters and self._counters[role][1] == request:
            return self.read(role)
        counters = {**self._counters, role: [str(self.read(role) + 1), request]}
        content = protocol.encode({role: " ".join(entry) for role, entry in counters.items()})
        replace_file(self._path, self._root.seal_mark(_PURPOSE, content))
        # In memory only after the disk: a full disk must not let the counter run ahead.
        self._counters = counters
        return self.read(role)
