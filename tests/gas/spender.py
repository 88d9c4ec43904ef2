"""A process that spends until it is killed: `python -m tests.gas.spender DATABASE ROUND`.

It says what it was told, one line per answer: `reserved NUMBER HOLD`, `settled NUMBER`, and
`released NUMBER`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from gas.ledger import Reservation
from tests.gas.ledgers import Ledger, budget, open_ledger, reservation, run_name, tokens

HELD, CHARGED = 10, 7


def request(round_number: int, number: int) -> Reservation:
    """Return what the spender asks for; each round has a run of its own."""
    request_id = f"{round_number}/{number}"
    return reservation(request_id, HELD, run=run_name(round_number))


def spend(store: Ledger, round_number: int) -> Iterator[str]:
    """Yield a line for every answer, for ever; every third hold stays open."""
    for number in count():
        hold = store.reserve(request(round_number, number))
        yield f"reserved {number} {hold.name}"
        if number % 3 == 0:
            store.settle(hold.name, tokens(CHARGED))
            yield f"settled {number}"
        if number % 3 == 1:
            store.release(hold.name)
            yield f"released {number}"


if __name__ == "__main__":
    ledger = open_ledger(Path(sys.argv[1]), dice=random.Random(f"round {sys.argv[2]}"))
    ledger.set_budget(budget(10**15))
    for line in spend(ledger, int(sys.argv[2])):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
