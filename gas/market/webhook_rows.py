"""Webhooks and deliveries in the database, in a transaction that somebody else opened."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, select, update

from ..bulk import bulk_of
from ..errors import WebhookNotFound
from .tables import (
    DELIVERY,
    WEBHOOK,
    delivery_of,
    delivery_values,
    webhook_of,
    webhook_values,
)
from .webhooks import Delivery, DeliveryState, Progress, Webhook


class WebhookRows:
    """Where events go, and how far they are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bulk = bulk_of(connection.engine)

    def find(self, name: str) -> Webhook | None:
        """Return a webhook, also one that was deleted."""
        found = self._connection.execute(select(WEBHOOK).where(WEBHOOK.c.name == name)).first()
        return webhook_of(found) if found else None

    def webhook(self, name: str) -> Webhook:
        """Return a webhook, or raise `WebhookNotFound`."""
        found = self.find(name)
        if found is None or found.deleted:
            raise WebhookNotFound(name)
        return found

    def put(self, webhook: Webhook) -> None:
        """Add or replace."""
        self._bulk.upsert(self._connection, WEBHOOK, [webhook_values(webhook)])

    def page(self, *, after: str, limit: int) -> list[Webhook]:
        """Return webhooks after a name, by name."""
        query = select(WEBHOOK).where(WEBHOOK.c.name > after, ~WEBHOOK.c.deleted)
        rows = self._connection.execute(query.order_by(WEBHOOK.c.name).limit(limit))
        return list(map(webhook_of, rows))

    def progress(self, webhook: Webhook) -> Progress:
        """Return how far a webhook is."""
        first = select(func.min(DELIVERY.c.event_offset)).where(
            _pending(webhook.name), DELIVERY.c.event_offset <= webhook.queued_offset
        )
        waiting = self._connection.execute(first).scalar()
        done = webhook.queued_offset if waiting is None else waiting - 1
        dead = (
            select(func.count())
            .select_from(DELIVERY)
            .where(
                DELIVERY.c.webhook == webhook.name,
                DELIVERY.c.state == DeliveryState.DEAD.value,
                DELIVERY.c.event_offset <= done,
            )
        )
        return Progress(webhook, done, self._connection.execute(dead).scalar_one())

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries, or begin them again."""
        values = [delivery_values(delivery) for delivery in deliveries]
        self._bulk.upsert(self._connection, DELIVERY, values)

    def waiting_accounts(self, webhook: str) -> list[str]:
        """Return for whom there are deliveries to make."""
        query = select(DELIVERY.c.account).where(_pending(webhook)).distinct()
        return sorted(self._connection.execute(query).scalars())

    def next_delivery(self, webhook: Webhook, account: str) -> Delivery | None:
        """Return the first delivery to make for an account.

        What lies beyond `queued_offset` is queued again, after what comes before it.
        """
        query = select(DELIVERY).where(
            _pending(webhook.name),
            DELIVERY.c.account == account,
            DELIVERY.c.event_offset <= webhook.queued_offset,
        )
        found = self._connection.execute(query.order_by(DELIVERY.c.event_offset).limit(1)).first()
        return delivery_of(found) if found else None

    def record(self, delivery: Delivery) -> None:
        """Replace what is known of a delivery."""
        where = (
            DELIVERY.c.webhook == delivery.webhook,
            DELIVERY.c.event_offset == delivery.offset,
        )
        columns = [column.name for column in DELIVERY.columns]
        values = dict(zip(columns, delivery_values(delivery), strict=True))
        self._connection.execute(update(DELIVERY).where(*where).values(values))

    def deliveries(
        self,
        *,
        webhook: str,
        state: DeliveryState | None,
        after: tuple[int, str] | None,
        limit: int,
    ) -> list[Delivery]:
        """Return deliveries after a key (offset, webhook), in its order."""
        alive = select(WEBHOOK.c.name).where(~WEBHOOK.c.deleted)
        query = select(DELIVERY).where(DELIVERY.c.webhook.in_(alive))
        if webhook:
            query = query.where(DELIVERY.c.webhook == webhook)
        if state is not None:
            query = query.where(DELIVERY.c.state == state.value)
        if after is not None:
            offset, name = after
            is_after = (DELIVERY.c.event_offset > offset) | (
                (DELIVERY.c.event_offset == offset) & (DELIVERY.c.webhook > name)
            )
            query = query.where(DELIVERY.c.event_offset >= offset, is_after)
        ordered = query.order_by(DELIVERY.c.event_offset, DELIVERY.c.webhook)
        return list(map(delivery_of, self._connection.execute(ordered.limit(limit))))


def _pending(webhook: str) -> ColumnElement[bool]:
    return (DELIVERY.c.webhook == webhook) & (DELIVERY.c.state == DeliveryState.PENDING.value)
