"""The contract of the gas system over gRPC: parse, decide in the domain, build the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc
from chassis import fields
from chassis.canonical import sha256_hex
from chassis.errors import InvalidField, MethodDenied
from chassis.identity import OPERATOR, current_caller
from chassis.server import Hosted
from chassis.unimplemented import refusing_the_rest

from . import ledger, texts
from .book import Refund
from .entries import Entry, Kind
from .operations import Close, Limit, Release, Reserve, Return, Settle
from .prices import GAS_MAX, Meter, PriceTable, Usage
from .store import LedgerStore
from .writer import Writer

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = gas_pb2.DESCRIPTOR.services_by_name["GasService"]

USAGES_MAX = 16
# Receipts are canonical JSON, where a larger integer has no exact value.
AMOUNT_MAX = 2**53 - 1

_SPENDERS = frozenset({"linker", "runtime"})
_READERS = frozenset({"assembler", "runtime", OPERATOR})
_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "QuoteGas": _READERS | {"linker"},
    "ReserveGas": _SPENDERS,
    "SettleGas": _SPENDERS,
    "ReleaseGas": _SPENDERS,
    "CloseRun": frozenset({"runtime"}),
    "GetReceipt": frozenset({"runtime", OPERATOR}),
    "SetBudget": frozenset({"runtime", OPERATOR}),
    "GetBudget": _READERS,
    "ListUsage": _OPERATOR,
    "GetPriceTable": _READERS,
    "UpdatePriceTable": _OPERATOR,
    "RefundGas": _OPERATOR,
    "ListEntries": _OPERATOR,
    "WatchCharges": _OPERATOR,
    "ListReports": _OPERATOR,
}
# An agent's manifest must not raise what an operator allows, nor the other way round.
BUDGET_SETTERS = {ledger.Origin.MANIFEST: "runtime", ledger.Origin.OPERATOR: OPERATOR}


def hosted(servicer: GasService) -> Hosted:
    """Return the service with its authorisation table."""
    return Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: gas_pb2_grpc.add_GasServiceServicer_to_server(
            servicer,  # type: ignore[arg-type]  # the decorator adds what it lacks
            server,
        ),
        callers=CALLERS,
    )


@refusing_the_rest(DESCRIPTOR)
class GasService:
    """Answers from one price table and one ledger."""

    def __init__(self, store: LedgerStore, prices: PriceTable) -> None:
        self._store = store
        self._writer = Writer(store)
        self._prices = prices

    async def QuoteGas(
        self, request: gas_pb2.QuoteGasRequest, context: Context
    ) -> gas_pb2.QuoteGasResponse:
        usages = _usages_from_proto(request.usages, size_min=1)
        gas = self._prices.quote(texts.item(request.item), usages)
        return gas_pb2.QuoteGasResponse(gas=gas, price_version=self._prices.version)

    async def ReserveGas(
        self, request: gas_pb2.ReserveGasRequest, context: Context
    ) -> gas_pb2.ReserveGasResponse:
        reservation = ledger.Reservation(
            request_id=fields.require_request_id(request.request_id),
            account=texts.account("account", request.account),
            run=texts.run(request.run),
            item=texts.item(request.item),
            usages=_usages_from_proto(request.usages, size_min=1),
        )
        hold = await self._writer.apply(Reserve(reservation))
        return gas_pb2.ReserveGasResponse(hold=_hold_to_proto(hold))

    async def SettleGas(
        self, request: gas_pb2.SettleGasRequest, context: Context
    ) -> gas_pb2.SettleGasResponse:
        usages = _usages_from_proto(request.usages, size_min=0)
        settlement = Settle(texts.hold(request.hold), usages, keep_open=request.keep_open)
        hold = await self._writer.apply(settlement)
        return gas_pb2.SettleGasResponse(hold=_hold_to_proto(hold))

    async def ReleaseGas(
        self, request: gas_pb2.ReleaseGasRequest, context: Context
    ) -> gas_pb2.ReleaseGasResponse:
        hold = await self._writer.apply(Release(texts.hold(request.hold)))
        return gas_pb2.ReleaseGasResponse(hold=_hold_to_proto(hold))

    async def CloseRun(
        self, request: gas_pb2.CloseRunRequest, context: Context
    ) -> gas_pb2.CloseRunResponse:
        run, account = texts.run(request.run), texts.account("account", request.account)
        await self._writer.apply(Close(run, account))
        # It changes no more once the run is closed.
        receipt = await asyncio.to_thread(self._store.receipt, run)
        return gas_pb2.CloseRunResponse(receipt=_receipt_to_proto(receipt))

    async def GetReceipt(
        self, request: gas_pb2.GetReceiptRequest, context: Context
    ) -> gas_pb2.GetReceiptResponse:
        receipt = await asyncio.to_thread(self._store.receipt, texts.run(request.run))
        return gas_pb2.GetReceiptResponse(receipt=_receipt_to_proto(receipt))

    async def SetBudget(
        self, request: gas_pb2.SetBudgetRequest, context: Context
    ) -> gas_pb2.SetBudgetResponse:
        if not request.HasField("budget"):
            raise InvalidField("budget", "is required")
        budget = _budget_from_proto(request.budget)
        _require_setter(budget.origin, current_caller())
        budget = await self._writer.apply(Limit(budget))
        return gas_pb2.SetBudgetResponse(budget=_budget_to_proto(budget))

    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: Context
    ) -> gas_pb2.GetBudgetResponse:
        account = texts.account("account", request.account)
        budgets = await asyncio.to_thread(self._store.budgets, account)
        return gas_pb2.GetBudgetResponse(
            budgets=map(_budget_to_proto, budgets), gas_available=ledger.gas_available(budgets)
        )

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
            rows=map(_consumption_to_proto, page), next_page_token=token
        )

    async def GetPriceTable(
        self, request: gas_pb2.GetPriceTableRequest, context: Context
    ) -> gas_pb2.GetPriceTableResponse:
        prices = (
            gas_pb2.Price(
                item=price.item,
                meter=action_pb2.Usage.Meter.Value(price.meter.value),
                gas_per_thousand=price.gas_per_thousand,
            )
            for price in self._prices.prices
        )
        return gas_pb2.GetPriceTableResponse(version=self._prices.version, prices=prices)

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
        return gas_pb2.RefundGasResponse(hold=_hold_to_proto(hold))

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
        return gas_pb2.ListEntriesResponse(
            entries=map(_entry_to_proto, page), next_page_token=token
        )

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
                    charge=_charge_to_proto(entry),
                )


def _require_setter(origin: ledger.Origin, caller: str) -> None:
    if BUDGET_SETTERS[origin] != caller:
        raise MethodDenied(caller, f"SetBudget with origin {origin.value}")


def _usages_from_proto(usages: Sequence[action_pb2.Usage], *, size_min: int) -> tuple[Usage, ...]:
    fields.require_size("usages", usages, size_min=size_min, size_max=USAGES_MAX)
    parsed = tuple(_usage_from_proto(f"usages[{i}]", usage) for i, usage in enumerate(usages))
    meters = [usage.meter for usage in parsed]
    for i, meter in enumerate(meters):
        if meter in meters[:i]:
            raise InvalidField(f"usages[{i}].meter", "came before; add the amounts up")
    return parsed


def _usage_from_proto(field: str, usage: action_pb2.Usage) -> Usage:
    if usage.meter not in _METERS:
        raise InvalidField(f"{field}.meter", "is required, such as METER_INPUT_TOKENS")
    fields.require_range(f"{field}.amount", usage.amount, least=0, most=AMOUNT_MAX)
    return Usage(_METERS[usage.meter], usage.amount)


_METERS = {action_pb2.Usage.Meter.Value(meter.value): meter for meter in Meter}


def _usages_to_proto(usages: Sequence[Usage]) -> list[action_pb2.Usage]:
    return [
        action_pb2.Usage(meter=action_pb2.Usage.Meter.Value(u.meter.value), amount=u.amount)
        for u in usages
    ]


_HOLD_STATES = {
    ledger.HoldState.OPEN: gas_pb2.Hold.STATE_OPEN,
    ledger.HoldState.SETTLED: gas_pb2.Hold.STATE_SETTLED,
    ledger.HoldState.RELEASED: gas_pb2.Hold.STATE_RELEASED,
    ledger.HoldState.EXPIRED: gas_pb2.Hold.STATE_EXPIRED,
}


def _hold_to_proto(hold: ledger.Hold) -> gas_pb2.Hold:
    return gas_pb2.Hold(
        name=hold.name,
        account=hold.reservation.account,
        run=hold.reservation.run,
        item=hold.reservation.item,
        state=_HOLD_STATES[hold.state],
        gas=hold.gas,
        charged_gas=hold.charged_gas,
        create_time=_timestamp(hold.create_time),
        expire_time=_timestamp(hold.expire_time),
        refunded_gas=hold.refunded_gas,
    )


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


_KINDS = {
    Kind.CHARGE: gas_pb2.Entry.KIND_CHARGE,
    Kind.CORRECTION: gas_pb2.Entry.KIND_CORRECTION,
    Kind.REFUND: gas_pb2.Entry.KIND_REFUND,
}


def _entry_to_proto(entry: Entry) -> gas_pb2.Entry:
    return gas_pb2.Entry(
        sequence=entry.sequence,
        debit_account=entry.debit_account,
        credit_account=entry.credit_account,
        gas=entry.gas,
        chain_hash=entry.chain_hash,
        create_time=_timestamp(entry.create_time),
        kind=_KINDS[entry.kind],
        hold=entry.hold,
        item=entry.item,
        usages=_usages_to_proto(entry.usages),
        price_version=entry.price_version,
        line=entry.line,
        cause=entry.cause,
    )


def _charge_to_proto(entry: Entry) -> action_pb2.Charge:
    return action_pb2.Charge(
        line=entry.line,
        item=entry.item,
        usages=_usages_to_proto(entry.usages),
        gas=entry.gas_charged,
        price_version=entry.price_version,
    )


def _receipt_to_proto(receipt: ledger.Receipt) -> action_pb2.Receipt:
    charges = (
        action_pb2.Charge(
            line=line,
            item=charge.item,
            usages=_usages_to_proto(charge.usages),
            gas=charge.gas,
            price_version=charge.price_version,
        )
        for line, charge in enumerate(receipt.charges, start=1)
    )
    content = receipt.canonical
    return action_pb2.Receipt(
        run=receipt.run,
        account=receipt.account,
        charges=charges,
        total_gas=receipt.total_gas,
        digest=action_pb2.Digest(sha256=sha256_hex(content), size_bytes=len(content)),
    )


_ORIGINS = {
    gas_pb2.Budget.ORIGIN_MANIFEST: ledger.Origin.MANIFEST,
    gas_pb2.Budget.ORIGIN_OPERATOR: ledger.Origin.OPERATOR,
}
_PERIODS = {
    gas_pb2.Budget.PERIOD_TOTAL: ledger.Period.TOTAL,
    gas_pb2.Budget.PERIOD_HOUR: ledger.Period.HOUR,
    gas_pb2.Budget.PERIOD_DAY: ledger.Period.DAY,
    gas_pb2.Budget.PERIOD_MONTH: ledger.Period.MONTH,
}


def _budget_from_proto(budget: gas_pb2.Budget) -> ledger.Budget:
    account = texts.account("budget.account", budget.account)
    if budget.origin not in _ORIGINS:
        raise InvalidField("budget.origin", "is required, such as ORIGIN_OPERATOR")
    if budget.period not in _PERIODS:
        raise InvalidField("budget.period", "is required, such as PERIOD_DAY")
    fields.require_range("budget.gas_limit", budget.gas_limit, least=1, most=GAS_MAX)
    return ledger.Budget(
        account=account,
        origin=_ORIGINS[budget.origin],
        period=_PERIODS[budget.period],
        gas_limit=budget.gas_limit,
    )


def _budget_to_proto(budget: ledger.Budget) -> gas_pb2.Budget:
    return gas_pb2.Budget(
        account=budget.account,
        origin=next(key for key, value in _ORIGINS.items() if value is budget.origin),
        period=next(key for key, value in _PERIODS.items() if value is budget.period),
        gas_limit=budget.gas_limit,
        gas_spent=budget.gas_spent,
    )


def _consumption_to_proto(consumption: ledger.Consumption) -> gas_pb2.UsageRow:
    return gas_pb2.UsageRow(
        account=consumption.account,
        item=consumption.item,
        usages=_usages_to_proto(consumption.usages),
        gas=consumption.gas,
        charge_count=consumption.charge_count,
    )
