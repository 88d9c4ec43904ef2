"""What changes the marketplace: committed with the ledger, by the one who writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from chassis.errors import InvalidField, RequestIdReused

from ..book import Book
from ..entries import Fee
from ..errors import RunCalled, RunOpen, WebhooksExhausted
from ..operations import TableOperation
from ..prices import PriceTable, Rate
from .events import BILL, Happening
from .fees import Bill, Dao, FeeSchedule, price_run
from .rows import FeeRows
from .webhook_rows import WebhookRows
from .webhooks import WEBHOOKS_MAX, Delivery, Webhook


@dataclass(frozen=True)
class SetFees(TableOperation[FeeSchedule]):
    """Replace what an agent costs; what is the same is no new version."""

    schedule: FeeSchedule

    def decide_in(self, connection: Connection, _book: Book, _now: datetime) -> FeeSchedule:
        rows = FeeRows(connection)
        rows.dao_of(self.schedule)
        before = rows.schedule(self.schedule.account)
        version = before.version if before else 0
        if before == replace(self.schedule, version=version):
            return before
        after = replace(self.schedule, version=version + 1)
        rows.set_schedule(after)
        return after


@dataclass(frozen=True)
class SetDao(TableOperation[Dao]):
    """Replace who holds how much; what is the same is no new version."""

    dao: Dao

    def decide_in(self, connection: Connection, _book: Book, _now: datetime) -> Dao:
        rows = FeeRows(connection)
        before = rows.find_dao(self.dao.name)
        version = before.version if before else 0
        if before == replace(self.dao, version=version):
            return before
        after = replace(self.dao, version=version + 1)
        rows.set_dao(after)
        return after


@dataclass(frozen=True)
class MakeBill(TableOperation[Bill]):
    """Bill a run once, with its entries in the ledger and the event that says so."""

    run_name: str
    payment_token: str

    def decide_in(self, connection: Connection, book: Book, now: datetime) -> Bill:
        rows = FeeRows(connection)
        known = rows.bill(self.run_name)
        if known is not None:
            return known
        # What is closed in this very batch is open here, and still has what it holds.
        tab = rows.tab(self.run_name)
        if tab.callers:
            raise RunCalled(self.run_name, tab.callers[0].run)
        if not tab.closed:
            raise RunOpen(self.run_name)
        schedule = rows.schedule_for(tab.account)
        try:
            price = price_run(
                _by_rate(tab.gas_by_version, rows, book.prices.table),
                schedule=schedule,
                dao=rows.dao_of(schedule),
                payment_token=self.payment_token,
            )
        except InvalidField as error:
            raise InvalidField("run", error.problem) from error
        bill = Bill(self.run_name, tab.account, price, now)
        rows.add_bill(bill)
        if schedule.dao:
            rows.pay_out(schedule.dao, price.payouts)
        for payee, item, micros in price.parts:
            fee = Fee(bill.run, micros, price.rate.currency)
            book.enter_fee(bill.account, payee, item, fee, now)
        book.notify(BILL, bill.account, {"run": bill.run}, now)
        return bill


def _by_rate(
    gas_by_version: Mapping[str, int], rows: FeeRows, current: PriceTable
) -> dict[Rate, int]:
    """Return gas by the rates at which it was charged; by that of now if currencies differ.

    What was held before price tables were kept has the rate of now.
    """
    found: dict[Rate, int] = {}
    for version, gas in gas_by_version.items():
        # The present one may not be on disk yet.
        rate = None if version == current.version else rows.rate(version)
        rate = rate or current.rate
        # The last one is the last in the dictionary.
        found[rate] = found.pop(rate, 0) + gas
    if len({rate.currency for rate in found}) != 1:
        return {current.rate: sum(found.values())}
    return found


@dataclass(frozen=True)
class AddWebhook(TableOperation[Webhook]):
    """Send events from now on; its name stands for the request that made it.

    An empty `subject` stands for all accounts. The request id is no property of the operation,
    because no hold has it.
    """

    asked_as: str
    name: str
    url: str
    event_types: tuple[str, ...]
    subject: str

    def decide_in(self, connection: Connection, book: Book, now: datetime) -> Webhook:
        rows = WebhookRows(connection)
        known = rows.find(self.name)
        if known is not None:
            asked = (self.url, self.event_types, self.subject)
            if asked != (known.url, known.event_types, known.account):
                raise RequestIdReused(self.asked_as)
            return known
        if len(rows.page(after="", limit=WEBHOOKS_MAX)) == WEBHOOKS_MAX:
            raise WebhooksExhausted(WEBHOOKS_MAX)
        last = book.last_offset
        webhook = Webhook(self.name, self.url, self.event_types, self.subject, now, last)
        rows.put(webhook)
        return webhook


@dataclass(frozen=True)
class DropWebhook(TableOperation[None]):
    """Send no more."""

    name: str

    def decide_in(self, connection: Connection, _book: Book, _now: datetime) -> None:
        rows = WebhookRows(connection)
        known = rows.find(self.name)
        if known is not None:
            rows.put(replace(known, deleted=True))


@dataclass(frozen=True)
class Replay(TableOperation[Webhook]):
    """Send events again from an offset on."""

    name: str
    after_offset: int

    def decide_in(self, connection: Connection, _book: Book, _now: datetime) -> Webhook:
        rows = WebhookRows(connection)
        webhook = rows.webhook(self.name)
        # Never forward: what was not queued yet would be lost.
        back = replace(webhook, queued_offset=min(webhook.queued_offset, self.after_offset))
        rows.put(back)
        return back


@dataclass(frozen=True)
class Enqueue(TableOperation[Webhook]):
    """Make deliveries of the events up to an offset."""

    name: str
    happenings: Sequence[Happening]
    until: int

    def decide_in(self, connection: Connection, _book: Book, now: datetime) -> Webhook:
        rows = WebhookRows(connection)
        webhook = rows.webhook(self.name)
        rows.queue(
            [
                Delivery(self.name, one.offset, one.source, one.account, next_attempt_time=now)
                for one in self.happenings
            ]
        )
        queued = replace(webhook, queued_offset=self.until)
        rows.put(queued)
        return queued


@dataclass(frozen=True)
class Record(TableOperation[None]):
    """Keep what became of an attempt."""

    delivery: Delivery

    def decide_in(self, connection: Connection, _book: Book, _now: datetime) -> None:
        WebhookRows(connection).record(self.delivery)
