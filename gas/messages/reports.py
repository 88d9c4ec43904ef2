"""Reports of what was used, and of who counted it, in messages."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2, gas_pb2, prices_pb2
from chassis import fields
from chassis.clock import is_time_zone
from chassis.errors import InvalidField

from .. import texts
from ..sums import Counter, TokenCount, TokenDrift
from ..usage_report import EVER_AFTER, Dimension, UsageQuery, UsageSum
from ..windows import QUARTER_SECONDS, quarter
from .usages import AMOUNT_MAX, METERS, USAGES_MAX, time_from_proto, usages_to_proto

TIME_ZONE_SIZE_MAX = 64
_DIMENSIONS = {
    budgets_pb2.UsageQuery.Dimension.Value(dimension.value): dimension for dimension in Dimension
}
_COUNTERS = {budgets_pb2.TokenCount.Counter.Value(counter.value): counter for counter in Counter}


def query_from_proto(query: budgets_pb2.UsageQuery, *, account: str) -> UsageQuery:
    """Return which usage counts, or refuse it."""
    start, end = 0, EVER_AFTER
    if query.HasField("start_time"):
        start = quarter(time_from_proto("query.start_time", query.start_time))
    if query.HasField("end_time"):
        time = time_from_proto("query.end_time", query.end_time)
        end = quarter(time)
        # Rounded up; exactly at a quarter, it is the end.
        end += QUARTER_SECONDS * (time.timestamp() > end)
        if end <= start:
            raise InvalidField("query.end_time", "must be after start_time")
    if query.time_zone and not is_time_zone(query.time_zone[:TIME_ZONE_SIZE_MAX]):
        raise InvalidField("query.time_zone", "is unknown; use one such as 'Europe/Berlin'")
    fields.require_size("query.dimensions", query.dimensions, size_min=0, size_max=len(_DIMENSIONS))
    dimensions: set[Dimension] = set()
    for i, number in enumerate(query.dimensions):
        dimension = _DIMENSIONS.get(number)
        if dimension is None or dimension in dimensions:
            raise InvalidField(f"query.dimensions[{i}]", "is unknown, or came before")
        dimensions.add(dimension)
    tenant = texts.tenant(query.tenant, field="query.tenant") if query.tenant else ""
    return UsageQuery(start, end, query.time_zone, frozenset(dimensions), account, tenant)


def usage_sum_to_proto(found: UsageSum) -> gas_pb2.UsageRow:
    """Return what was used at one place."""
    account, item, tenant, day = found.place
    cost = prices_pb2.Money(micros=found.cost[0], currency=found.cost[1]) if found.cost else None
    return gas_pb2.UsageRow(
        account=account,
        item=item,
        usages=usages_to_proto(found.usages),
        gas=found.gas,
        charge_count=found.charge_count,
        tenant=tenant,
        day=day,
        cost=cost,
    )


def token_counts_from_proto(
    counts: Sequence[budgets_pb2.TokenCount],
) -> tuple[TokenCount, ...]:
    """Return who counted what, or refuse it."""
    fields.require_size("token_counts", counts, size_min=0, size_max=USAGES_MAX)
    parsed: list[TokenCount] = []
    for i, count in enumerate(counts):
        field = f"token_counts[{i}]"
        if count.meter not in METERS:
            raise InvalidField(f"{field}.meter", "is required, such as METER_INPUT_TOKENS")
        if count.counter not in _COUNTERS:
            raise InvalidField(f"{field}.counter", "is required, such as COUNTER_PROVIDER")
        fields.require_range(f"{field}.amount", count.amount, least=0, most=AMOUNT_MAX)
        found = TokenCount(METERS[count.meter], _COUNTERS[count.counter], count.amount)
        if any((one.meter, one.counter) == (found.meter, found.counter) for one in parsed):
            raise InvalidField(field, "came before; each counter counts a meter once")
        parsed.append(found)
    return tuple(parsed)


def drift_to_proto(drift: TokenDrift) -> budgets_pb2.TokenDrift:
    """Return how a counter compares with the provider's."""
    return budgets_pb2.TokenDrift(
        item=drift.item,
        meter=action_pb2.Usage.Meter.Value(drift.meter.value),
        counter=budgets_pb2.TokenCount.Counter.Value(drift.counter.value),
        charge_count=drift.charge_count,
        provider_amount=drift.provider_amount,
        counted_amount=drift.counted_amount,
        below_count=drift.below_count,
        drift_permille_max=drift.drift_permille_max,
    )
