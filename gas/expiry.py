"""Charges holds that nobody settled in time, also while nobody asks for anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chassis.clock import Clock
from chassis.log import log

from .errors import LedgerFenced, LedgerUnavailable
from .operations import Expire
from .store import LedgerStore
from .writer import Writer

# How long after its end a hold is charged at most, on a ledger that is there.
PAUSE_SECONDS = 10.0


async def expire_in_time(
    writer: Writer, store: LedgerStore, *, clock: Clock, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Expire what is due, until somebody else has the ledger.

    Every batch does so first; this makes one when there is no other.
    """
    # What an earlier process left open is not known before the first batch.
    is_due = True
    while True:
        if is_due:
            try:
                await writer.apply(Expire())
                is_due = False
            except LedgerFenced:
                log.warning("expiry.stopped")
                return
            except LedgerUnavailable as error:
                log.warning("expiry.failed", problem=str(error))
        await sleep(PAUSE_SECONDS)
        due = store.next_expire_time
        is_due = is_due or (due is not None and due <= clock.now())
