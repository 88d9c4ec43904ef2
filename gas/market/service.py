"""The contract of the marketplace over gRPC: parse, decide in the domain, build the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from actionvm.gas.v1 import market_pb2
from chassis import fields
from chassis.errors import InvalidField
from chassis.identity import AUDITORS, OPERATOR, PEOPLE
from chassis.unimplemented import refusing_the_rest

from .. import texts
from ..errors import WebhookKeyMissing
from ..messages.events import (
    event_to_proto,
    webhook_from_proto,
    webhook_key,
    webhook_name,
    webhook_to_proto,
)
from ..messages.fees import (
    bill_to_proto,
    dao_from_proto,
    dao_name,
    dao_to_proto,
    payment_token,
    payouts_to_proto,
    price_to_proto,
    schedule_from_proto,
    schedule_to_proto,
)
from ..prices import GAS_MAX
from ..writer import Writer
from . import webhooks
from .operations import AddWebhook, DropWebhook, MakeBill, Replay, SetDao, SetFees
from .outbox import Outbox
from .store import MarketStore

if TYPE_CHECKING:
    from grpc import aio

    Context: TypeAlias = aio.ServicerContext[Any, Any]

DESCRIPTOR = market_pb2.DESCRIPTOR.services_by_name["MarketplaceService"]

_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "SetFeeSchedule": _OPERATOR,
    "GetFeeSchedule": PEOPLE,
    "SetDao": _OPERATOR,
    "GetDao": PEOPLE,
    "PriceRun": PEOPLE,
    "BillRun": _OPERATOR,
    "SubscribeUsage": AUDITORS,
    "CreateWebhook": _OPERATOR,
    "ListWebhooks": AUDITORS,
    "DeleteWebhook": _OPERATOR,
    "ReplayWebhook": _OPERATOR,
}


@refusing_the_rest(DESCRIPTOR)
class MarketplaceService:
    """Answers from fees, holdings and the outbox of the ledger.

    Without an outbox there is no key to sign with: webhooks are kept, and get nothing.
    """

    def __init__(self, writer: Writer, store: MarketStore, outbox: Outbox | None = None) -> None:
        self._writer = writer
        self._store = store
        self._outbox = outbox

    async def SetFeeSchedule(
        self, request: market_pb2.SetFeeScheduleRequest, context: Context
    ) -> market_pb2.SetFeeScheduleResponse:
        if not request.HasField("schedule"):
            raise InvalidField("schedule", "is required")
        schedule = await self._writer.apply(SetFees(schedule_from_proto(request.schedule)))
        return market_pb2.SetFeeScheduleResponse(schedule=schedule_to_proto(schedule))

    async def GetFeeSchedule(
        self, request: market_pb2.GetFeeScheduleRequest, context: Context
    ) -> market_pb2.GetFeeScheduleResponse:
        account = request.account and texts.account("account", request.account)
        schedule = await asyncio.to_thread(self._store.schedule_for, account)
        return market_pb2.GetFeeScheduleResponse(schedule=schedule_to_proto(schedule))

    async def SetDao(
        self, request: market_pb2.SetDaoRequest, context: Context
    ) -> market_pb2.SetDaoResponse:
        if not request.HasField("dao"):
            raise InvalidField("dao", "is required")
        dao = await self._writer.apply(SetDao(dao_from_proto(request.dao)))
        return market_pb2.SetDaoResponse(dao=dao_to_proto(dao))

    async def GetDao(
        self, request: market_pb2.GetDaoRequest, context: Context
    ) -> market_pb2.GetDaoResponse:
        name = dao_name("name", request.name)
        dao, payouts = await asyncio.to_thread(self._store.dao, name)
        return market_pb2.GetDaoResponse(dao=dao_to_proto(dao), payouts=payouts_to_proto(payouts))

    async def PriceRun(
        self, request: market_pb2.PriceRunRequest, context: Context
    ) -> market_pb2.PriceRunResponse:
        fields.require_range("gas", request.gas, least=0, most=GAS_MAX)
        price = await asyncio.to_thread(
            self._store.price,
            request.gas,
            account=texts.account("account", request.account),
            payment_token=payment_token(request.payment_token),
        )
        return market_pb2.PriceRunResponse(price=price_to_proto(price))

    async def BillRun(
        self, request: market_pb2.BillRunRequest, context: Context
    ) -> market_pb2.BillRunResponse:
        run, token = texts.run(request.run), payment_token(request.payment_token)
        bill = await self._writer.apply(MakeBill(run, token))
        return market_pb2.BillRunResponse(bill=bill_to_proto(bill))

    async def SubscribeUsage(
        self, request: market_pb2.SubscribeUsageRequest, context: Context
    ) -> AsyncGenerator[market_pb2.SubscribeUsageResponse, None]:
        account = request.account and texts.account("account", request.account)
        last = await asyncio.to_thread(self._store.last_offset)
        fields.require_range("after_offset", request.after_offset, least=0, most=last)
        async with aclosing(self._writer.follow_events(request.after_offset)) as pages:
            async for page in pages:
                for event in page:
                    if account in {"", event.what.account}:
                        fact = await asyncio.to_thread(self._store.fact_of, event)
                        yield market_pb2.SubscribeUsageResponse(event=event_to_proto(fact))

    async def CreateWebhook(
        self, request: market_pb2.CreateWebhookRequest, context: Context
    ) -> market_pb2.CreateWebhookResponse:
        request_id = fields.require_request_id(request.request_id)
        if not request.HasField("webhook"):
            raise InvalidField("webhook", "is required")
        url, event_types, account = webhook_from_proto(request.webhook)
        if self._outbox is None:
            raise WebhookKeyMissing
        name = webhooks.webhook_name(self._store.ledger_id, request_id)
        webhook = await self._outbox.add(AddWebhook(request_id, name, url, event_types, account))
        progress = await asyncio.to_thread(self._store.progress, webhook)
        return market_pb2.CreateWebhookResponse(
            webhook=webhook_to_proto(progress), secret=self._outbox.seal.secret(name)
        )

    async def ListWebhooks(
        self, request: market_pb2.ListWebhooksRequest, context: Context
    ) -> market_pb2.ListWebhooksResponse:
        limit = fields.page_limit(request.page_size)
        after = webhook_key(request.page_token)
        # One more than the page tells whether there is another.
        found = await asyncio.to_thread(self._store.webhooks, after=after, limit=limit + 1)
        page = found[:limit]
        token = fields.page_token(page[-1].webhook.name) if len(found) > limit else ""
        return market_pb2.ListWebhooksResponse(
            webhooks=map(webhook_to_proto, page), next_page_token=token
        )

    async def DeleteWebhook(
        self, request: market_pb2.DeleteWebhookRequest, context: Context
    ) -> market_pb2.DeleteWebhookResponse:
        name = webhook_name("name", request.name)
        if self._outbox is None:
            await self._writer.apply(DropWebhook(name))
        else:
            await self._outbox.drop(name)
        return market_pb2.DeleteWebhookResponse()

    async def ReplayWebhook(
        self, request: market_pb2.ReplayWebhookRequest, context: Context
    ) -> market_pb2.ReplayWebhookResponse:
        name = webhook_name("name", request.name)
        last = await asyncio.to_thread(self._store.last_offset)
        fields.require_range("after_offset", request.after_offset, least=0, most=last)
        if self._outbox is None:
            webhook = await self._writer.apply(Replay(name, request.after_offset))
        else:
            webhook = await self._outbox.replay(name, request.after_offset)
        progress = await asyncio.to_thread(self._store.progress, webhook)
        return market_pb2.ReplayWebhookResponse(webhook=webhook_to_proto(progress))
