"""A process that spends until it is killed: `python -m tests.gas.spender DATABASE ROUND`.

It says what it was told, one line per answer: `reserved NUMBER HOLD`, `settled NUMBER`, and
`released NUMBER`. With a number of callers as third argument it spends from that many at once.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from gas.ledger import Reservation
from gas.operations import Release, Reserve, Settle
from gas.writer import Writer
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


async def spend_at_once(store: Ledger, round_number: int, callers: int) -> None:
    """Say a line for every answer, for ever; callers take turns with the numbers."""
    writer, numbers = Writer(store.store), count()

    async def caller() -> None:
        for number in numbers:
            hold = (await writer.apply(Reserve(request(round_number, number)))).hold
            say(f"reserved {number} {hold.name}")
            if number % 3 == 0:
                await writer.apply(Settle(hold.name, tokens(CHARGED)))
                say(f"settled {number}")
            if number % 3 == 1:
                await writer.apply(Release(hold.name))
                say(f"released {number}")

    await asyncio.gather(*(caller() for _ in range(callers)))


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    ledger = open_ledger(Path(sys.argv[1]), dice=random.Random(f"round {sys.argv[2]}"))
    ledger.set_budget(budget(10**15))
    if len(sys.argv) > 3:
        asyncio.run(spend_at_once(ledger, int(sys.argv[2]), int(sys.argv[3])))
    for line in spend(ledger, int(sys.argv[2])):
        say(line)
