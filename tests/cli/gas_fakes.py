"""The two services of the gas process as the command line sees them; both remember requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import (
    budgets_pb2,
    delivery_pb2,
    gas_pb2,
    gas_pb2_grpc,
    market_pb2,
    market_pb2_grpc,
    prices_pb2,
)
from chassis.errors import InvalidField, NotFound, PeerUnavailable
from gas.messages.prices import files_from_proto, read_files

if TYPE_CHECKING:
    from .fakes import Context

METER = action_pb2.Usage
HOLD = "holds/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"
WEBHOOK = "webhooks/3f0c6a52-8d0e-4b60-9f5e-0c6a528d0e4b"
SECRET = "whsec_c2VjcmV0"


@dataclass(eq=False)
class AccountNotFound(NotFound):
    """As the error of the gas system."""

    reason = "ACCOUNT_NOT_FOUND"
    message = "{account} is not known"

    account: str


def at(text: str) -> Timestamp:
    """Return a moment."""
    found = Timestamp()
    found.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return found


def row(gas: int, **fields: str) -> gas_pb2.UsageRow:
    """Return what was used; every gas was a token and a micro."""
    return gas_pb2.UsageRow(
        gas=gas,
        charge_count=1,
        usages=[action_pb2.Usage(meter=METER.METER_INPUT_TOKENS, amount=gas)],
        cost=prices_pb2.Money(micros=gas, currency="USD"),
        **fields,
    )


def price(item: str, gas: int, **fields: object) -> gas_pb2.Price:
    """Return what input tokens cost."""
    return gas_pb2.Price(
        item=item,
        meter=METER.METER_INPUT_TOKENS,
        gas_per_thousand=gas,
        **fields,  # type: ignore[arg-type]  # its other fields
    )


class FakeGas(gas_pb2_grpc.GasServiceServicer):
    """Says what a test tells it to; `requests` has every request but for reading budgets.

    Time costs nothing, unless a test says so.
    """

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.gas_of_time = 0
        self.budgets = {"agents/fake": [gas_pb2.Budget(account="agents/fake", gas_limit=100)]}
        self.tenant = "tenants/default"
        self.rows = [row(2**52, account="agents/fake", item="model local/babbler")]
        self.entries: list[gas_pb2.Entry] = []
        self.drifts = [
            budgets_pb2.TokenDrift(
                item="model openai/gpt-4o",
                meter=METER.METER_INPUT_TOKENS,
                counter=budgets_pb2.TokenCount.COUNTER_TOKENIZER,
                charge_count=4,
                provider_amount=200,
                counted_amount=190,
                below_count=1,
                drift_permille_max=75,
            )
        ]
        self.table = gas_pb2.GetPriceTableResponse(
            version="abc123",
            prices=[price("model local/*", 100), price("action *", 7)],
            rate=prices_pb2.Rate(micros_per_thousand_gas=100, currency="USD"),
            effective_time=at("2026-11-01"),
        )
        self.reports = [
            gas_pb2.Report(
                id="1",
                delivery=delivery_pb2.Delivery(
                    webhook=WEBHOOK,
                    offset=7,
                    state=delivery_pb2.Delivery.STATE_DEAD,
                    attempt_count=12,
                    last_error="HTTP 503",
                ),
            )
        ]

    async def QuoteGas(
        self, request: gas_pb2.QuoteGasRequest, context: Context
    ) -> gas_pb2.QuoteGasResponse:
        if [usage.meter for usage in request.usages] == [METER.METER_INFERENCE_MILLISECONDS]:
            return gas_pb2.QuoteGasResponse(gas=self.gas_of_time)
        self.requests.append(request)
        return gas_pb2.QuoteGasResponse(gas=sum(usage.amount for usage in request.usages))

    async def QuoteRun(
        self, request: prices_pb2.QuoteRunRequest, context: Context
    ) -> prices_pb2.QuoteRunResponse:
        """Take a gas for each unit."""
        self.requests.append(request)
        lines, assumptions = [], []
        for call in request.calls:
            least = sum(used.least for used in call.usages) * call.count_least
            most = sum(used.most for used in call.usages) * call.count_most
            gas = prices_pb2.GasRange(
                gas_least=least, gas_likely=(least + most) // 2, gas_most=most
            )
            lines.append(prices_pb2.QuoteLine(item=call.item, gas=gas))
            assumptions.append(
                prices_pb2.Assumption(
                    item=call.item,
                    meter=call.usages[0].meter,
                    most=call.usages[0].most,
                    basis=prices_pb2.Assumption.BASIS_MEASURED,
                    charge_count=5,
                )
            )
        total = [
            sum(getattr(line.gas, name) for line in lines)
            for name in ("gas_least", "gas_likely", "gas_most")
        ]
        costs = [prices_pb2.Money(micros=gas, currency="USD") for gas in total]
        return prices_pb2.QuoteRunResponse(
            gas=prices_pb2.GasRange(gas_least=total[0], gas_likely=total[1], gas_most=total[2]),
            lines=lines,
            assumptions=assumptions,
            price_version="abc123",
            cost_least=costs[0],
            cost_likely=costs[1],
            cost_most=costs[2],
        )

    async def SetBudget(
        self, request: gas_pb2.SetBudgetRequest, context: Context
    ) -> gas_pb2.SetBudgetResponse:
        self.requests.append(request)
        return gas_pb2.SetBudgetResponse(budget=request.budget)

    async def DeleteBudget(
        self, request: budgets_pb2.DeleteBudgetRequest, context: Context
    ) -> budgets_pb2.DeleteBudgetResponse:
        self.requests.append(request)
        return budgets_pb2.DeleteBudgetResponse()

    async def GetBudget(
        self, request: gas_pb2.GetBudgetRequest, context: Context
    ) -> gas_pb2.GetBudgetResponse:
        if request.account not in self.budgets:
            raise AccountNotFound(request.account)
        is_agent = request.account.startswith("agents/")
        return gas_pb2.GetBudgetResponse(
            budgets=self.budgets[request.account],
            gas_available=60,
            tenant=self.tenant if is_agent else "",
        )

    async def SetTenant(
        self, request: budgets_pb2.SetTenantRequest, context: Context
    ) -> budgets_pb2.SetTenantResponse:
        self.requests.append(request)
        return budgets_pb2.SetTenantResponse()

    async def ListUsage(
        self, request: gas_pb2.ListUsageRequest, context: Context
    ) -> gas_pb2.ListUsageResponse:
        self.requests.append(request)
        return gas_pb2.ListUsageResponse(rows=self.rows)

    async def ListTokenDrift(
        self, request: budgets_pb2.ListTokenDriftRequest, context: Context
    ) -> budgets_pb2.ListTokenDriftResponse:
        self.requests.append(request)
        return budgets_pb2.ListTokenDriftResponse(drifts=self.drifts)

    async def GetPriceTable(
        self, request: gas_pb2.GetPriceTableRequest, context: Context
    ) -> gas_pb2.GetPriceTableResponse:
        self.requests.append(request)
        return self.table

    async def ListPriceTables(
        self, request: prices_pb2.ListPriceTablesRequest, context: Context
    ) -> prices_pb2.ListPriceTablesResponse:
        self.requests.append(request)
        table = prices_pb2.ScheduledPriceTable(
            version="abc123", in_force=True, price_count=2, from_file=True
        )
        return prices_pb2.ListPriceTablesResponse(tables=[table])

    async def ReadPriceFiles(
        self, request: prices_pb2.ReadPriceFilesRequest, context: Context
    ) -> gas_pb2.ReadPriceFilesResponse:
        """Read as the gas system does."""
        return read_files(files_from_proto(request.files))

    async def UpdatePriceTable(
        self, request: gas_pb2.UpdatePriceTableRequest, context: Context
    ) -> gas_pb2.UpdatePriceTableResponse:
        self.requests.append(request)
        return gas_pb2.UpdatePriceTableResponse(
            version="def456", effective_time=request.effective_time
        )

    async def RefundGas(
        self, request: gas_pb2.RefundGasRequest, context: Context
    ) -> gas_pb2.RefundGasResponse:
        self.requests.append(request)
        if request.gas > 100:
            raise InvalidField("gas", "is more than is left of the charge")
        hold = gas_pb2.Hold(account="agents/fake", charged_gas=100, refunded_gas=request.gas)
        return gas_pb2.RefundGasResponse(hold=hold)

    async def ListEntries(
        self, request: gas_pb2.ListEntriesRequest, context: Context
    ) -> gas_pb2.ListEntriesResponse:
        """Two to a page."""
        self.requests.append(request)
        entries = self.entries[::-1] if request.newest_first else self.entries
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < len(entries) else ""
        return gas_pb2.ListEntriesResponse(
            entries=entries[start : start + 2], next_page_token=token
        )

    async def ListReports(
        self, request: gas_pb2.ListReportsRequest, context: Context
    ) -> gas_pb2.ListReportsResponse:
        self.requests.append(request)
        return gas_pb2.ListReportsResponse(reports=self.reports)


class FakeMarket(market_pb2_grpc.MarketplaceServiceServicer):
    """Has one fee schedule, one DAO, one webhook; a stream breaks off after each of `breaks`."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.schedule = market_pb2.FeeSchedule(
            account="agents/fake",
            commission_basis_points=1_000,
            discounts=[market_pb2.TokenDiscount(token="MGN", discount_basis_points=2_500)],
            creator_fee_micros=50_000,
            dao="daos/founders",
            version=3,
        )
        self.price = market_pb2.RunPrice(
            gas=700,
            actionvm_micros=80,
            service_cost_micros=10,
            creator_micros=50,
            commission_micros=13,
            discount_micros=3,
            total_micros=140,
            currency="USD",
            dao="daos/founders",
            payouts=[market_pb2.Payout(holder="alice", micros=50)],
        )
        self.events: list[market_pb2.Event] = []
        self.breaks: list[int] = []
        self.hangs = False
        self.webhooks = [market_pb2.Webhook(name=WEBHOOK, url="https://example.com", dead_count=1)]

    async def SetFeeSchedule(
        self, request: market_pb2.SetFeeScheduleRequest, context: Context
    ) -> market_pb2.SetFeeScheduleResponse:
        self.requests.append(request)
        return market_pb2.SetFeeScheduleResponse(schedule=request.schedule)

    async def GetFeeSchedule(
        self, request: market_pb2.GetFeeScheduleRequest, context: Context
    ) -> market_pb2.GetFeeScheduleResponse:
        return market_pb2.GetFeeScheduleResponse(schedule=self.schedule)

    async def SetDao(
        self, request: market_pb2.SetDaoRequest, context: Context
    ) -> market_pb2.SetDaoResponse:
        self.requests.append(request)
        return market_pb2.SetDaoResponse(dao=request.dao)

    async def GetDao(
        self, request: market_pb2.GetDaoRequest, context: Context
    ) -> market_pb2.GetDaoResponse:
        holdings = [
            market_pb2.Holding(holder="alice", units=3),
            market_pb2.Holding(holder="bob", units=1),
        ]
        payouts = [market_pb2.Payout(holder="carol", micros=1_500_000)]
        dao = market_pb2.Dao(name=request.name, holdings=holdings)
        return market_pb2.GetDaoResponse(dao=dao, payouts=payouts)

    async def PriceRun(
        self, request: market_pb2.PriceRunRequest, context: Context
    ) -> market_pb2.PriceRunResponse:
        self.requests.append(request)
        return market_pb2.PriceRunResponse(price=self.price)

    async def BillRun(
        self, request: market_pb2.BillRunRequest, context: Context
    ) -> market_pb2.BillRunResponse:
        self.requests.append(request)
        bill = market_pb2.Bill(run=request.run, account="agents/fake", price=self.price)
        return market_pb2.BillRunResponse(bill=bill)

    async def SubscribeUsage(
        self, request: market_pb2.SubscribeUsageRequest, context: Context
    ) -> AsyncIterator[market_pb2.SubscribeUsageResponse]:
        self.requests.append(request)
        stop = self.breaks.pop(0) if self.breaks else None
        for event in self.events[request.after_offset : stop]:
            yield market_pb2.SubscribeUsageResponse(event=event)
        if stop is not None:
            raise PeerUnavailable("gas")
        if self.hangs:
            await asyncio.Event().wait()

    async def CreateWebhook(
        self, request: market_pb2.CreateWebhookRequest, context: Context
    ) -> market_pb2.CreateWebhookResponse:
        self.requests.append(request)
        webhook = market_pb2.Webhook(name=WEBHOOK, url=request.webhook.url)
        return market_pb2.CreateWebhookResponse(webhook=webhook, secret=SECRET)

    async def ListWebhooks(
        self, request: market_pb2.ListWebhooksRequest, context: Context
    ) -> market_pb2.ListWebhooksResponse:
        return market_pb2.ListWebhooksResponse(webhooks=self.webhooks)

    async def DeleteWebhook(
        self, request: market_pb2.DeleteWebhookRequest, context: Context
    ) -> market_pb2.DeleteWebhookResponse:
        self.requests.append(request)
        return market_pb2.DeleteWebhookResponse()

    async def ReplayWebhook(
        self, request: market_pb2.ReplayWebhookRequest, context: Context
    ) -> market_pb2.ReplayWebhookResponse:
        self.requests.append(request)
        return market_pb2.ReplayWebhookResponse(webhook=self.webhooks[0])
