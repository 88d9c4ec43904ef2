"""The contract of the gas system over gRPC: parse, decide in the domain, build the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.gas.v1 import (
    budgets_pb2,
    gas_pb2,
    gas_pb2_grpc,
    market_pb2_grpc,
    metering_pb2,
    metering_pb2_grpc,
    prices_pb2,
)
from chassis import fields
from chassis.errors import InvalidField, MethodDenied
from chassis.identity import AUDITORS, OPERATOR, PEOPLE, current_caller
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from . import texts
from .book import Refund
from .budgets import Origin
from .market.outbox import Outbox
from .market.service import CALLERS as MARKET_CALLERS
from .market.service import DESCRIPTOR as MARKET
from .market.service import MarketplaceService
from .market.store import MarketStore
from .messages.budgets import budget_from_proto, budget_to_proto, warning_to_proto
from .messages.charges import (
    charge_to_proto,
    consumption_to_proto,
    entry_to_proto,
    hold_to_proto,
    receipt_to_proto,
)
from .messages.events import report_key, report_to_proto, state_from_proto, webhook_name
from .messages.operations import (
    operations_from_proto,
    outcome_to_proto,
    release_from_proto,
    reserve_from_proto,
    settle_from_proto,
)
from .messages.prices import (
    cost_to_proto,
    files_from_proto,
    listed_to_proto,
    price_table_to_proto,
    read_files,
    update_from_proto,
)
from .messages.quotes import plan_from_proto, quote_to_proto
from .messages.reports import (
    drift_to_proto,
    query_from_proto,
    usage_sum_to_proto,
)
from .messages.usages import time_from_proto, timestamp_to_proto, usages_from_proto
from .operations import Assign, Close, Lift, Limit, Operation, Publish, Return
from .prices import GAS_MAX
from .quote import quote
from .store import LedgerStore
from .usage_report import UsageQuery
from .writer import Writer

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]
METERING = metering_pb2.DESCRIPTOR.services_by_name["MeteringService"]

_SPENDERS = frozenset({"linker", "runtime"})
_READERS = PEOPLE | {"assembler", "runtime"}
_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "QuoteGas": _READERS | {"linker"},
    "QuoteRun": _READERS,
    "ReserveGas": _SPENDERS,
    "SettleGas": _SPENDERS,
    "ReleaseGas": _SPENDERS,
    "CloseRun": frozenset({"runtime"}),
    "GetReceipt": PEOPLE | {"runtime"},
    "SetBudget": frozenset({"runtime", OPERATOR}),
    "DeleteBudget": frozenset({"runtime", OPERATOR}),
    "GetBudget": _READERS,
    "SetTenant": _OPERATOR,
    "ListUsage": AUDITORS,
    "ListTokenDrift": AUDITORS,
    "GetPriceTable": _READERS,
    "ListPriceTables": _READERS,
    "ReadPriceFiles": _OPERATOR,
    "UpdatePriceTable": _OPERATOR,
    "RefundGas": _OPERATOR,
    "ListEntries": AUDITORS,
    "WatchCharges": AUDITORS,
    "ListReports": AUDITORS,
}
# Nobody does with many operations what they may not do with one.
CALLERS["MeterGas"] = CALLERS["ReserveGas"] & CALLERS["SettleGas"] & CALLERS["ReleaseGas"]
# Reports that are summed up at once: a long one reads for seconds, in a thread that others need.
REPORTS_MAX = 2
# An agent's manifest must not raise what an operator allows, nor the other way round.
BUDGET_SETTERS = {Origin.MANIFEST.value: "runtime", Origin.OPERATOR.value: OPERATOR}


def hosted(servicer: GasService, outbox: Outbox | None = None) -> Hosted:
    """Return all contracts with their authorisation table; without an outbox nothing is sent."""

    def add_to(server: aio.Server) -> None:
        gas_pb2_grpc.add_GasServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        )
        metering_pb2_grpc.add_MeteringServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # as above
            server,
        )
        market_pb2_grpc.add_MarketplaceServiceServicer_to_server(
            servicer.marketplace(outbox),  # type: ignore[arg-type]  # as above
            server,
        )

    callers = CALLERS | MARKET_CALLERS
    return Hosted(descriptor=DESCRIPTOR, add_to=add_to, callers=callers, others=(METERING, MARKET))


@refusing_the_rest(DESCRIPTOR)
class GasService:
    """Answers from one ledger and its price tables."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._writer = Writer(store)
        self._market = MarketStore(store)
        self._reports = asyncio.Semaphore(REPORTS_MAX)

    @property
    def writer(self) -> Writer:
        """Return the one who writes the ledger, for an outbox."""
        return self._writer

    def marketplace(self, outbox: Outbox | None) -> MarketplaceService:
        """Return the other contract of the process, on the same ledger."""
        return MarketplaceService(self._writer, self._market, outbox)

    async def QuoteGas(
        self, request: gas_pb2.QuoteGasRequest, context: Context
    ) -> gas_pb2.QuoteGasResponse:
        usages = usages_from_proto(request.usages, size_min=1)
        item = texts.item(request.item)
        _, table = await asyncio.to_thread(self._store.prices.at)
        gas = table.quote(item, usages)
        cost = cost_to_proto(gas, table.rate)
        return gas_pb2.QuoteGasResponse(gas=gas, price_version=table.version, cost=cost)

    async def QuoteRun(
        self, request: prices_pb2.QuoteRunRequest, context: Context
    ) -> prices_pb2.QuoteRunResponse:
        account = texts.account("account", request.account)
        plan = plan_from_proto(request.calls)
        items = [call.item for call in plan]
        _, table = await asyncio.to_thread(self._store.prices.at)
        history = await asyncio.to_thread(self._store.history, account, items)
        return quote_to_proto(quote(table, plan, history), table)

    async def ReserveGas(
        self, request: gas_pb2.ReserveGasRequest, context: Context
    ) -> gas_pb2.ReserveGasResponse:
        held = await self._writer.apply(reserve_from_proto(request))
        warnings = map(warning_to_proto, held.warnings)
        return gas_pb2.ReserveGasResponse(hold=hold_to_proto(held.hold), warnings=warnings)

    async def SettleGas(
        self, request: gas_pb2.SettleGasRequest, context: Context
    ) -> gas_pb2.SettleGasResponse:
        held = await self._writer.apply(settle_from_proto(request))
        warnings = map(warning_to_proto, held.warnings)
        return gas_pb2.SettleGasResponse(hold=hold_to_proto(held.hold), warnings=warnings)

    async def ReleaseGas(
        self, request: gas_pb2.ReleaseGasRequest, context: Context
    ) -> gas_pb2.ReleaseGasResponse:
        hold = await self._writer.apply(release_from_proto(request))
        return gas_pb2.ReleaseGasResponse(hold=hold_to_proto(hold))

    async def MeterGas(
        self, request: metering_pb2.MeterGasRequest, context: Context
    ) -> metering_pb2.MeterGasResponse:
        asked = operations_from_proto(request.operations)
        operations = [one for one in asked if isinstance(one, Operation)]
        decided = iter(await self._writer.apply_all(operations))
        outcomes = (next(decided) if isinstance(one, Operation) else one for one in asked)
        return metering_pb2.MeterGasResponse(outcomes=map(outcome_to_proto, outcomes))

    async def CloseRun(
        self, request: gas_pb2.CloseRunRequest, context: Context
    ) -> gas_pb2.CloseRunResponse:
        run, account = texts.run(request.run), texts.account("account", request.account)
        await self._writer.apply(Close(run, account))
        # It changes no more once the run is closed.
        receipt = await asyncio.to_thread(self._store.receipt, run)
        return gas_pb2.CloseRunResponse(receipt=receipt_to_proto(receipt))

    async def GetReceipt(
        self, request: gas_pb2.GetReceiptRequest, context: Context
    ) -> gas_pb2.GetReceiptResponse:
        receipt = await asyncio.to_thread(self._store.receipt, texts.run(request.run))
        return gas_pb2.GetReceiptResponse(receipt=receipt_to_proto(receipt))

    async def SetBudget(
        self, request: gas_pb2.SetBudgetRequest, context: Context
    ) -> gas_pb2.SetBudgetResponse:
        if not request.HasField("budget"):
            raise InvalidField("budget", "is required")
        budget = budget_from_proto(request.budget)
        _require_setter(budget.origin.value, "SetBudget")
        budget = await self._writer.apply(Limit(budget))
        return gas_pb2.SetBudgetResponse(budget=budget_to_proto(budget))

    async def DeleteBudget(
        self, request: budgets_pb2.DeleteBudgetRequest, context: Context
    ) -> budgets_pb2.DeleteBudgetResponse:
        account, origin, id_ = texts.budget(request.name)
        _require_setter(origin, "DeleteBudget")
        await self._writer.apply(Lift((account, origin, id_)))
        return budgets_pb2.DeleteBudgetResponse()

    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: Context
    ) -> gas_pb2.GetBudgetResponse:
        account = texts.payer("account", request.account)
        standing = await asyncio.to_thread(self._store.standing, account)
        return gas_pb2.GetBudgetResponse(
            budgets=map(budget_to_proto, standing.budgets),
            gas_available=standing.gas_available,
            warnings=map(warning_to_proto, standing.warnings),
            tenant=standing.tenant,
        )

    async def SetTenant(
        self, request: budgets_pb2.SetTenantRequest, context: Context
    ) -> budgets_pb2.SetTenantResponse:
        account = texts.account("account", request.account)
        await self._writer.apply(Assign(account, texts.tenant(request.tenant)))
        return budgets_pb2.SetTenantResponse()

    async def ListUsage(
        self, request: gas_pb2.ListUsageRequest, context: Context
    ) -> gas_pb2.ListUsageResponse:
        account = texts.account("account", request.account) if request.account else ""
        limit = fields.page_limit(request.page_size)
        if request.HasField("query"):
            query = query_from_proto(request.query, account=account)
            return await self._sum_usage(query, request.page_token, limit)
        start = fields.page_start(request.page_token, parts=2)
        after = (start[0], start[1]) if start else None
        # One more than the page tells whether there is another.
        rows = await asyncio.to_thread(
            self._store.consumptions, account=account, after=after, limit=limit + 1
        )
        page = rows[:limit]
        token = fields.page_token(page[-1].account, page[-1].item) if len(rows) > limit else ""
        return gas_pb2.ListUsageResponse(
            rows=map(consumption_to_proto, page), next_page_token=token
        )

    async def _sum_usage(
        self, query: UsageQuery, page_token: str, limit: int
    ) -> gas_pb2.ListUsageResponse:
        start = fields.page_start(page_token, parts=4)
        after = (start[0], start[1], start[2], start[3]) if start else None
        async with self._reports:
            rows = await asyncio.to_thread(self._store.usage, query, after, limit + 1)
        page = rows[:limit]
        token = fields.page_token(*page[-1].place) if len(rows) > limit else ""
        return gas_pb2.ListUsageResponse(rows=map(usage_sum_to_proto, page), next_page_token=token)

    async def ListTokenDrift(
        self, request: budgets_pb2.ListTokenDriftRequest, context: Context
    ) -> budgets_pb2.ListTokenDriftResponse:
        item = texts.item(request.item) if request.item else ""
        limit = fields.page_limit(request.page_size)
        start = texts.sequence(request.page_token)
        drifts = await asyncio.to_thread(self._store.drifts, item)
        page = drifts[start : start + limit]
        end = start + len(page)
        token = fields.page_token(str(end)) if end < len(drifts) else ""
        return budgets_pb2.ListTokenDriftResponse(
            drifts=map(drift_to_proto, page), next_page_token=token
        )

    async def GetPriceTable(
        self, request: gas_pb2.GetPriceTableRequest, context: Context
    ) -> gas_pb2.GetPriceTableResponse:
        archive = self._store.prices
        if request.version:
            if request.HasField("time"):
                raise InvalidField("time", "goes without a version; leave one of them out")
            version = texts.price_version(request.version)
            return price_table_to_proto(*await asyncio.to_thread(archive.find, version))
        time = time_from_proto("time", request.time) if request.HasField("time") else None
        return price_table_to_proto(*await asyncio.to_thread(archive.at, time))

    async def ListPriceTables(
        self, request: prices_pb2.ListPriceTablesRequest, context: Context
    ) -> prices_pb2.ListPriceTablesResponse:
        limit = fields.page_limit(request.page_size)
        before = texts.sequence(request.page_token) or None
        rows = await asyncio.to_thread(self._store.prices.page, before=before, limit=limit + 1)
        page = rows[:limit]
        token = fields.page_token(str(page[-1].scheduled.number)) if len(rows) > limit else ""
        return prices_pb2.ListPriceTablesResponse(
            tables=map(listed_to_proto, page), next_page_token=token
        )

    async def ReadPriceFiles(
        self, request: prices_pb2.ReadPriceFilesRequest, context: Context
    ) -> gas_pb2.ReadPriceFilesResponse:
        return await asyncio.to_thread(read_files, files_from_proto(request.files))

    async def UpdatePriceTable(
        self, request: gas_pb2.UpdatePriceTableRequest, context: Context
    ) -> gas_pb2.UpdatePriceTableResponse:
        # A large one takes longer than others may wait.
        update = await asyncio.to_thread(update_from_proto, request)
        scheduled = await self._writer.apply(Publish(update))
        return gas_pb2.UpdatePriceTableResponse(
            version=scheduled.version, effective_time=timestamp_to_proto(scheduled.effective_time)
        )

    async def RefundGas(
        self, request: gas_pb2.RefundGasRequest, context: Context
    ) -> gas_pb2.RefundGasResponse:
        fields.require_range("gas", request.gas, least=1, most=GAS_MAX)
        refund = Refund(
            request_id=fields.require_request_id(request.request_id),
            hold=texts.hold(request.hold),
            gas=request.gas,
            cause=texts.cause(request.cause),
        )
        hold = await self._writer.apply(Return(refund))
        return gas_pb2.RefundGasResponse(hold=hold_to_proto(hold))

    async def ListEntries(
        self, request: gas_pb2.ListEntriesRequest, context: Context
    ) -> gas_pb2.ListEntriesResponse:
        account = texts.account("account", request.account) if request.account else ""
        limit = fields.page_limit(request.page_size)
        start = texts.sequence(request.page_token)
        read = self._store.latest_entries if request.newest_first else self._store.entries
        entries = await asyncio.to_thread(read, start, account=account, limit=limit + 1)
        page = entries[:limit]
        token = fields.page_token(str(page[-1].sequence)) if len(entries) > limit else ""
        return gas_pb2.ListEntriesResponse(entries=map(entry_to_proto, page), next_page_token=token)

    async def WatchCharges(
        self, request: gas_pb2.WatchChargesRequest, context: Context
    ) -> AsyncGenerator[gas_pb2.WatchChargesResponse, None]:
        last = await asyncio.to_thread(self._store.last_sequence)
        fields.require_range("after_sequence", request.after_sequence, least=0, most=last)
        async with aclosing(self._writer.follow(request.after_sequence)) as entries:
            async for entry in entries:
                yield gas_pb2.WatchChargesResponse(
                    sequence=entry.sequence,
                    account=entry.account,
                    charge=charge_to_proto(entry),
                )

    async def ListReports(
        self, request: gas_pb2.ListReportsRequest, context: Context
    ) -> gas_pb2.ListReportsResponse:
        webhook = request.webhook and webhook_name("webhook", request.webhook)
        limit = fields.page_limit(request.page_size)
        found = await asyncio.to_thread(
            self._market.deliveries,
            webhook=webhook,
            state=state_from_proto(request.state),
            after=report_key(request.page_token),
            limit=limit + 1,
        )
        page = found[:limit]
        last = page[-1][0] if len(found) > limit else None
        return gas_pb2.ListReportsResponse(
            reports=(report_to_proto(self._store.ledger_id, *delivery) for delivery in page),
            next_page_token=fields.page_token(str(last.offset), last.webhook) if last else "",
        )


def _require_setter(origin: str, method: str) -> None:
    caller = current_caller()
    if BUDGET_SETTERS[origin] != caller:
        raise MethodDenied(caller, f"{method} with origin {origin}")
