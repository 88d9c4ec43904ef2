"""Keys that were opened a moment ago, so that most uses cost neither a read nor a decryption."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .rows import SecretRow
from .uses.keys import LoadedKey

LOADED_MAX = 1_024
IDLE_MICROSECONDS = 300 * 1_000_000


@dataclass
class LoadedSecret:
    """A secret with its usable versions; a version ends at a time in microseconds, or at 0 never.

    `joined` opens what any of them made, for kinds whose versions work together.
    """

    row: SecretRow
    versions: Mapping[int, tuple[LoadedKey, int]] = field(repr=False)
    used_microseconds: int = 0


class LoadedKeys:
    """The secrets used last, at most so many, and none that nobody used for a while."""

    def __init__(self, size_max: int = LOADED_MAX) -> None:
        self._size_max = size_max
        self._secrets: OrderedDict[str, LoadedSecret] = OrderedDict()

    def __len__(self) -> int:
        """Return how many secrets are open."""
        return len(self._secrets)

    def find(self, name: str, microseconds: int) -> LoadedSecret | None:
        """Return an open secret, which is used now."""
        found = self._secrets.get(name)
        if found is not None:
            self._secrets.move_to_end(name)
            found.used_microseconds = microseconds
        return found

    def keep(self, secret: LoadedSecret) -> None:
        """Keep a secret open, and close the one that was used least recently."""
        self._secrets[secret.row.name] = secret
        self._secrets.move_to_end(secret.row.name)
        if len(self._secrets) > self._size_max:
            self._secrets.popitem(last=False)

    def drop(self, names: Iterable[str]) -> None:
        """Close secrets that changed."""
        for name in names:
            self._secrets.pop(name, None)

    def drop_idle(self, microseconds: int) -> None:
        """Close what nobody used for a while; the clock may have been put back."""
        for name, secret in list(self._secrets.items()):
            if not 0 <= microseconds - secret.used_microseconds < IDLE_MICROSECONDS:
                del self._secrets[name]

    def clear(self) -> None:
        """Close all."""
        self._secrets.clear()
