"""What is known of fees, bills, webhooks and events: reads what was committed."""

from __future__ import annotations

from chassis.canonical import sha256_hex

from ..budgets import BudgetWarning
from ..entries import Entry
from ..notices import RUN_CLOSED, Event
from ..store import LedgerStore
from .events import BILL, ClosedRun, Detail, Fact, event_id, happening_of
from .fees import Dao, FeeSchedule, Payout, RunPrice, price_run
from .rows import FeeRows
from .webhook_rows import WebhookRows
from .webhooks import Delivery, DeliveryState, Progress, Webhook


class MarketStore:
    """Reads the tables of the marketplace, and of the ledger what events say of it."""

    def __init__(self, ledger: LedgerStore) -> None:
        self._ledger = ledger

    @property
    def ledger_id(self) -> str:
        """Return the name of the ledger, which no other has."""
        return self._ledger.ledger_id

    def last_offset(self) -> int:
        """Return the offset of the last event, or 0."""
        return self._ledger.last_offset()

    def schedule_for(self, account: str) -> FeeSchedule:
        """Return the fees of an account; those of an empty one are the default."""
        with self._ledger.reading() as connection:
            return FeeRows(connection).schedule_for(account)

    def dao(self, name: str) -> tuple[Dao, list[Payout]]:
        """Return holdings and what was paid out, or raise `DaoNotFound`."""
        with self._ledger.reading() as connection:
            rows = FeeRows(connection)
            return rows.dao(name), rows.payouts(name)

    def price(self, gas: int, *, account: str, payment_token: str) -> RunPrice:
        """Return what gas of an agent costs its user now."""
        _, table = self._ledger.prices.at()
        with self._ledger.reading() as connection:
            rows = FeeRows(connection)
            schedule = rows.schedule_for(account)
            return price_run(
                {table.rate: gas},
                schedule=schedule,
                dao=rows.dao_of(schedule),
                payment_token=payment_token,
            )

    def webhooks(self, *, after: str, limit: int) -> list[Progress]:
        """Return webhooks after a name, by name."""
        with self._ledger.reading() as connection:
            rows = WebhookRows(connection)
            return [rows.progress(webhook) for webhook in rows.page(after=after, limit=limit)]

    def progress(self, webhook: Webhook) -> Progress:
        """Return how far a webhook is."""
        with self._ledger.reading() as connection:
            return WebhookRows(connection).progress(webhook)

    def webhook(self, name: str) -> Webhook:
        """Return a webhook, or raise `WebhookNotFound`."""
        with self._ledger.reading() as connection:
            return WebhookRows(connection).webhook(name)

    def waiting_accounts(self, webhook: str) -> list[str]:
        """Return for whom a webhook has deliveries to make."""
        with self._ledger.reading() as connection:
            return WebhookRows(connection).waiting_accounts(webhook)

    def next_delivery(self, webhook: str, account: str) -> Delivery | None:
        """Return the first delivery to make for an account."""
        with self._ledger.reading() as connection:
            rows = WebhookRows(connection)
            return rows.next_delivery(rows.webhook(webhook), account)

    def deliveries(
        self,
        *,
        webhook: str,
        state: DeliveryState | None,
        after: tuple[int, str] | None,
        limit: int,
    ) -> list[tuple[Delivery, Entry | None]]:
        """Return deliveries after a key (offset, webhook), each with its entry if it is one."""
        with self._ledger.reading() as connection:
            found = WebhookRows(connection).deliveries(
                webhook=webhook, state=state, after=after, limit=limit
            )
        return [(delivery, self._entry(delivery)) for delivery in found]

    def fact(self, offset: int) -> Fact:
        """Return all that the event at an offset says."""
        (event,) = self._ledger.events(after_offset=offset - 1, limit=1)
        return self.fact_of(event)

    def fact_of(self, event: Event) -> Fact:
        """Return all that an event says."""
        happening = happening_of(event)
        return Fact(event_id(self.ledger_id, happening.source), happening, self._detail(event))

    def _detail(self, event: Event) -> Detail:
        if isinstance(event.what, Entry):
            return event.what
        content = event.what.content
        assert isinstance(content, dict), "notices have objects"
        if event.what.kind == RUN_CLOSED:
            # It changes no more.
            receipt = self._ledger.receipt(str(content["run"]))
            return ClosedRun(receipt.run, receipt.total_gas, sha256_hex(receipt.canonical))
        if event.what.kind == BILL:
            with self._ledger.reading() as connection:
                bill = FeeRows(connection).bill(str(content["run"]))
            assert bill is not None, "a bill is written with its notice"
            return bill
        return BudgetWarning(account=event.what.account, **content)

    def _entry(self, delivery: Delivery) -> Entry | None:
        kind, _, number = delivery.source.partition("/")
        if kind != "entries":
            return None
        (entry,) = self._ledger.entries(int(number) - 1, limit=1)
        return entry
