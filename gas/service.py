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
    prices_pb2,
)
from chassis import fields
from chassis.errors import InvalidField, MethodDenied
from chassis.identity import OPERATOR, current_caller
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from . import ledger, texts
from .book import Refund
from .chain import Caller, require_chain
from .market.service import CALLERS as MARKET_CALLERS
from .market.service import DESCRIPTOR as MARKET
from .market.service import MarketplaceService
from .messages.budgets import budget_from_proto, budget_to_proto
from .messages.charges import (
    callers_from_proto,
    charge_to_proto,
    consumption_to_proto,
    entry_to_proto,
    hold_to_proto,
    receipt_to_proto,
)
from .messages.prices import (
    cost_to_proto,
    listed_to_proto,
    price_table_to_proto,
    update_from_proto,
)
from .messages.usages import time_from_proto, timestamp_to_proto, usages_from_proto
from .operations import Assign, Close, Limit, Publish, Release, Reserve, Return, Settle
from .prices import GAS_MAX
from .store import LedgerStore
from .writer import Writer

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]

_SPENDERS = frozenset({"linker", "runtime"})
_READERS = frozenset({"assembler", "runtime", OPERATOR})
_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "QuoteGas": _READERS | {"linker"},
    "QuoteRun": _READERS,
    "ReserveGas": _SPENDERS,
    "SettleGas": _SPENDERS,
    "ReleaseGas": _SPENDERS,
    "CloseRun": frozenset({"runtime"}),
    "GetReceipt": frozenset({"runtime", OPERATOR}),
    "SetBudget": frozenset({"runtime", OPERATOR}),
    "DeleteBudget": frozenset({"runtime", OPERATOR}),
    "GetBudget": _READERS,
    "SetTenant": _OPERATOR,
    "ListUsage": _OPERATOR,
    "ListTokenDrift": _OPERATOR,
    "GetPriceTable": _READERS,
    "ListPriceTables": _READERS,
    "UpdatePriceTable": _OPERATOR,
    "RefundGas": _OPERATOR,
    "ListEntries": _OPERATOR,
    "WatchCharges": _OPERATOR,
    "ListReports": _OPERATOR,
}
# An agent's manifest must not raise what an operator allows, nor the other way round.
BUDGET_SETTERS = {ledger.Origin.MANIFEST: "runtime", ledger.Origin.OPERATOR: OPERATOR}


def hosted(servicer: GasService, market: MarketplaceService) -> Hosted:
    """Return both contracts with their authorisation table."""

    def add_to(server: aio.Server) -> None:
        gas_pb2_grpc.add_GasServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        )
        market_pb2_grpc.add_MarketplaceServiceServicer_to_server(
            market,  # type: ignore[arg-type]  # as above
            server,
        )

    callers = CALLERS | MARKET_CALLERS
    return Hosted(descriptor=DESCRIPTOR, add_to=add_to, callers=callers, others=(MARKET,))


@refusing_the_rest(DESCRIPTOR)
class GasService:
    """Answers from one ledger and its price tables."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._writer = Writer(store)

    async def QuoteGas(
        self, request: gas_pb2.QuoteGasRequest, context: Context
    ) -> gas_pb2.QuoteGasResponse:
        usages = usages_from_proto(request.usages, size_min=1)
        item = texts.item(request.item)
        _, table = await asyncio.to_thread(self._store.prices.at)
        gas = table.quote(item, usages)
        cost = cost_to_proto(gas, table.rate)
        return gas_pb2.QuoteGasResponse(gas=gas, price_version=table.version, cost=cost)

    async def ReserveGas(
        self, request: gas_pb2.ReserveGasRequest, context: Context
    ) -> gas_pb2.ReserveGasResponse:
        reservation = ledger.Reservation(
            request_id=fields.require_request_id(request.request_id),
            account=texts.account("account", request.account),
            run=texts.run(request.run),
            item=texts.item(request.item),
            usages=usages_from_proto(request.usages, size_min=1),
            callers=callers_from_proto(request.callers),
        )
        require_chain(reservation.callers, Caller(reservation.account, reservation.run))
        hold = await self._writer.apply(Reserve(reservation))
        return gas_pb2.ReserveGasResponse(hold=hold_to_proto(hold))

    async def SettleGas(
        self, request: gas_pb2.SettleGasRequest, context: Context
    ) -> gas_pb2.SettleGasResponse:
        usages = usages_from_proto(request.usages, size_min=0)
        settlement = Settle(texts.hold(request.hold), usages, keep_open=request.keep_open)
        hold = await self._writer.apply(settlement)
        return gas_pb2.SettleGasResponse(hold=hold_to_proto(hold))

    async def ReleaseGas(
        self, request: gas_pb2.ReleaseGasRequest, context: Context
    ) -> gas_pb2.ReleaseGasResponse:
        hold = await self._writer.apply(Release(texts.hold(request.hold)))
        return gas_pb2.ReleaseGasResponse(hold=hold_to_proto(hold))

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
        _require_setter(budget.origin, current_caller())
        budget = await self._writer.apply(Limit(budget))
        return gas_pb2.SetBudgetResponse(budget=budget_to_proto(budget))

    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: Context
    ) -> gas_pb2.GetBudgetResponse:
        account = texts.account("account", request.account)
        budgets = await asyncio.to_thread(self._store.budgets, account)
        return gas_pb2.GetBudgetResponse(
            budgets=map(budget_to_proto, budgets), gas_available=ledger.gas_available(budgets)
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
        after = texts.sequence(request.page_token)
        entries = await asyncio.to_thread(
            self._store.entries, account=account, after=after, limit=limit + 1
        )
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


def _require_setter(origin: ledger.Origin, caller: str) -> None:
    if BUDGET_SETTERS[origin] != caller:
        raise MethodDenied(caller, f"SetBudget with origin {origin.value}")
