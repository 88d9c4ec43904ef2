"""Waiting until what was destroyed is gone from the files."""

from __future__ import annotations

import asyncio

from .errors import ErasurePending
from .store import VaultStore

# Who destroys something waits as long for readers of the file, which are mostly done in no time.
ATTEMPTS_MAX = 60
_PAUSE_SECONDS = 0.05


async def wait_for_erasure(store: VaultStore, attempts_max: int) -> None:
    """Return when nothing that was destroyed is left in the files, or raise `ErasurePending`.

    Meanwhile everything else goes on; `Vault.tend` tries again for who did not wait so long.
    """
    for _ in range(attempts_max):
        if store.is_erased or await asyncio.to_thread(store.erase):
            return
        await asyncio.sleep(_PAUSE_SECONDS)
    raise ErasurePending
