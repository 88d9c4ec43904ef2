"""Reports that take long keep no run from its end."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import Any

from actionvm.gas.v1 import budgets_pb2
from actionvm.gas.v1 import gas_pb2 as pb
from gas.database import open_ledger_database
from gas.service import GasService
from gas.store import LedgerStore
from gas.usage_report import Place, UsageQuery, UsageSum
from tests.gas.ledgers import ACCOUNT, PRICES, HandSetClock, run_name

# More than there are threads for all that is read.
REPORTS = 100
# The methods that are called here ask it nothing.
NO_CONTEXT: Any = None


class SlowReports(LedgerStore):
    """A ledger that sums nothing up before it may."""

    may_end = threading.Event()

    def usage(self, query: UsageQuery, after: Place | None, limit: int) -> list[UsageSum]:
        assert self.may_end.wait(60), "the test lets it end"
        return super().usage(query, after, limit)


async def test_slow_reports_keep_no_run_from_its_end(tmp_path: Path) -> None:
    engine = open_ledger_database(tmp_path / "gas.db", "")
    store = SlowReports(engine, PRICES, clock=HandSetClock(), dice=random.Random(1))
    service = GasService(store)
    asked = pb.ListUsageRequest(query=budgets_pb2.UsageQuery())
    reports = [asyncio.create_task(service.ListUsage(asked, NO_CONTEXT)) for _ in range(REPORTS)]
    try:
        async with asyncio.timeout(20):
            request = pb.CloseRunRequest(run=run_name(1), account=ACCOUNT)
            closed = await service.CloseRun(request, NO_CONTEXT)
    finally:
        store.may_end.set()
        await asyncio.gather(*reports)
        engine.dispose()

    assert closed.receipt.run == run_name(1)
