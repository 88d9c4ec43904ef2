"""What was used of one limit: the sum over any window of time, at the cost of a search."""

from __future__ import annotations

from bisect import bisect_right


class Tally:
    """Amounts in the order of their times, with the rows that they are in.

    Times are microseconds. Only a clock that is put back makes adding expensive.
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._rows: list[int] = []
        # Of all amounts ever added up to the one in this place, and up to the last forgotten one.
        self._sums: list[int] = []
        self._forgotten = 0

    def __len__(self) -> int:
        """Return how many amounts are remembered."""
        return len(self._times)

    def add(self, time: int, amount: int, row: int) -> None:
        """Remember an amount."""
        place = bisect_right(self._times, time)
        self._times.insert(place, time)
        self._rows.insert(place, row)
        self._sums.insert(place, self._sum_before(place) + amount)
        for later in range(place + 1, len(self._sums)):
            self._sums[later] += amount

    def total_after(self, time: int) -> int:
        """Return the sum of all that was added with a later time."""
        place = bisect_right(self._times, time)
        return self._sum_before(len(self._sums)) - self._sum_before(place)

    def rows_until(self, time: int, count_max: int) -> list[int]:
        """Return the rows of the first amounts, at most so many, none later than a time."""
        return self._rows[: min(bisect_right(self._times, time), count_max)]

    def forget(self, count: int) -> None:
        """Forget the first amounts."""
        self._forgotten = self._sum_before(count)
        del self._times[:count], self._rows[:count], self._sums[:count]

    def _sum_before(self, place: int) -> int:
        return self._sums[place - 1] if place else self._forgotten
