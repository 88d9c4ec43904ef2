"""What was used of the windows of policies, in the transaction that keeps what was decided.

A row has what was used at a time, and all that was used up to it. So the sum of any window is one
subtraction, however much is in it, and rows that no window reaches can go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from ..errors import LimitReached
from ..rules import WINDOW_SECONDS_MAX, Use

# What no window reaches is kept a day longer: the longest month is one with an hour more.
KEPT = timedelta(seconds=WINDOW_SECONDS_MAX, days=1)
# Of what is kept no longer, so many rows go with each write.
FORGOTTEN_MAX = 100

# Executes SQL with `?` for its values, and returns the rows.
Execute: TypeAlias = Callable[[str, Sequence[object]], Sequence[Any]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def require_room(execute: Execute, account: str, uses: Sequence[Use]) -> None:
    """Raise `LimitReached` for the first use that its window has no room for."""
    taken: dict[tuple[str, str], int] = defaultdict(int)
    for use in uses:
        if use.most is not None:
            used, oldest = _used(execute, account, use)
            if used + taken[use.owner, use.key] + use.amount > use.most:
                raise LimitReached(use.key, used, oldest)
        taken[use.owner, use.key] += use.amount


def count(execute: Execute, account: str, uses: Sequence[Use], now: datetime) -> None:
    """Add uses to their windows."""
    for use in uses:
        last = _first(
            execute,
            "SELECT time, amount, total FROM tally WHERE account = ? AND key = ? "
            "ORDER BY time DESC LIMIT 1",
            (use.owner or account, use.key),
        )
        # A clock that was set back must not put a use where a window has left it behind.
        time = max(_micros(now), last[0]) if last else _micros(now)
        total = use.amount + (int(last[2]) if last else 0)
        amount = use.amount + (int(last[1]) if last and last[0] == time else 0)
        execute(
            "INSERT INTO tally (account, key, time, amount, total) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (account, key, time) DO UPDATE SET amount = excluded.amount, "
            "total = excluded.total",
            (use.owner or account, use.key, time, str(amount), str(total)),
        )
    if uses:
        execute(
            "DELETE FROM tally WHERE (account, key, time) IN "
            "(SELECT account, key, time FROM tally WHERE time < ? ORDER BY time LIMIT ?)",
            (_micros(now - KEPT), FORGOTTEN_MAX),
        )


def _used(execute: Execute, account: str, use: Use) -> tuple[int, datetime | None]:
    """Return what was used after the beginning of a window, and when first."""
    select = "SELECT amount, total, time FROM tally WHERE account = ? AND key = ? AND time > ? "
    values = (use.owner or account, use.key, _micros(use.since))
    first = _first(execute, f"{select}ORDER BY time LIMIT 1", values)
    if first is None:
        return 0, None
    last = _first(execute, f"{select}ORDER BY time DESC LIMIT 1", values)
    assert last is not None, "it was there just now"
    used = int(last[1]) - int(first[1]) + int(first[0])
    return used, _EPOCH + int(first[2]) * _MICROSECOND


def _first(execute: Execute, sql: str, values: Sequence[object]) -> Any:  # noqa: ANN401  # a row
    return next(iter(execute(sql, values)), None)


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
