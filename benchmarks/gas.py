"""How many holds and settlements the ledger takes: `python benchmarks/gas.py [--quick]`.

Prints one line of JSON per figure. The figure and its peer take turns in each round, on fresh
databases; values are medians over the rounds, and the ratio is the median of their ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from sqlalchemy import Engine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gas_rpc, row_update
from benchmarks.lines import write_line
from chassis.clock import SystemClock
from gas.budgets import Budget, Origin
from gas.database import open_ledger_database
from gas.ledger import Reservation
from gas.operations import Limit, Reserve, Settle
from gas.prices import Meter, PriceTable, Usage
from gas.store import LedgerStore
from gas.windows import Period
from gas.writer import BATCH_MAX, Writer
from tests.gas.postgres import PostgresMissing, running_postgres

IN_FLIGHT = 256
PRICES = PriceTable({"model local/*": {Meter.INPUT_TOKENS: 1_000, Meter.OUTPUT_TOKENS: 2_000}})
WORST = (Usage(Meter.INPUT_TOKENS, 500), Usage(Meter.OUTPUT_TOKENS, 256))
USED = (Usage(Meter.INPUT_TOKENS, 480), Usage(Meter.OUTPUT_TOKENS, 61))


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds, and pairs in each of them."""

    rounds: int
    pairs: int
    pairs_slow: int


def spend(engine: Engine, pairs: int, *, accounts: int = 1, batch_max: int = BATCH_MAX) -> float:
    """Return pairs per second of callers that hold and settle, and check the sums."""
    store = LedgerStore(engine, PRICES, clock=SystemClock(), dice=random.SystemRandom())
    writer = Writer(store, batch_max=batch_max)
    names = [f"agents/a{number}" for number in range(accounts)]
    runs = [f"runs/{uuid.uuid4()}" for _ in names]
    numbers = iter(range(pairs))

    async def caller() -> None:
        for number in numbers:
            who = number % accounts
            asked = Reservation(
                f"{runs[who]}/step/{number}", names[who], runs[who], "model local/tiny", WORST
            )
            held = await writer.apply(Reserve(asked))
            await writer.apply(Settle(held.hold.name, USED))

    async def measure() -> float:
        limits = (Budget(name, Origin.OPERATOR, Period.DAY, 10**15) for name in names)
        await asyncio.gather(*(writer.apply(Limit(limit)) for limit in limits))
        start = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return pairs / (time.perf_counter() - start)

    rate = uvloop.run(measure())
    spent = sum(budget.gas_spent for name in names for budget in store.standing(name).budgets)
    assert spent == pairs * (480 + 2 * 61), f"{spent} gas is spent"
    assert store.last_sequence() == pairs, "every pair is one entry"
    return rate


@contextmanager
def fresh_file() -> Iterator[Engine]:
    """Yield an empty ledger in a file."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_ledger_database(Path(folder) / "gas.db", "")
        yield engine
        engine.dispose()


def on_file(pairs: int, *, accounts: int = 1, batch_max: int = BATCH_MAX) -> Callable[[], float]:
    """Return a measurement on a file of its own."""

    def measure() -> float:
        with fresh_file() as engine:
            return spend(engine, pairs, accounts=accounts, batch_max=batch_max)

    return measure


def compare(
    figure: str,
    rounds: int,
    measure: Callable[[], float],
    peer: str,
    measure_peer: Callable[[], float],
) -> None:
    """Print a figure beside its peer."""
    values = [(measure(), measure_peer()) for _ in range(rounds)]
    report(
        figure,
        statistics.median(value for value, _ in values),
        peer,
        statistics.median(value for _, value in values),
        statistics.median(value / other for value, other in values),
    )


def report(figure: str, value: float, peer: str, peer_value: float, ratio: float) -> None:
    """Print one line."""
    write_line(
        figure=figure, value=value, unit="pairs/s", peer=peer, peer_value=peer_value, ratio=ratio
    )


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds")
    quick = parser.parse_args().quick
    size = Size(3, 4_000, 150) if quick else Size(7, 20_000, 1_000)
    one, many = on_file(size.pairs), on_file(size.pairs, accounts=1_000)
    single = on_file(size.pairs_slow, batch_max=1)
    compare("pairs_per_s", size.rounds, one, "single_commit", single)
    compare("pairs_per_s_hot", size.rounds, one, "many_accounts", many)
    measure_postgres(size)
    compare(
        "grpc_pairs_per_s",
        size.rounds,
        lambda: gas_rpc.measure(size.pairs, gas_rpc.by_client),
        "grpc_unary_calls",
        lambda: gas_rpc.measure(size.pairs // 4, gas_rpc.by_unary_calls),
    )


def measure_postgres(size: Size) -> None:
    """Measure on PostgreSQL, if the machine has one."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres(fsync=True))
        except PostgresMissing as missing:
            print(json.dumps({"figure": "pairs_per_s_pg_hot", "skipped": str(missing)}))
            return

        def batched() -> float:
            engine = open_ledger_database(Path(), server.fresh_database())
            try:
                return spend(engine, size.pairs)
            finally:
                engine.dispose()

        def rows() -> float:
            return row_update.measure(server.fresh_database(), size.pairs_slow)

        compare("pairs_per_s_pg_hot", size.rounds, batched, "row_update", rows)


if __name__ == "__main__":
    main()
