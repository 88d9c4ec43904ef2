"""Quotes of runs in messages."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import prices_pb2
from chassis import fields
from chassis.errors import InvalidField

from .. import texts
from ..prices import PriceTable
from ..quote import Assumption, GasRange, PlannedCall, Quote, UsageRange
from .prices import cost_to_proto
from .usages import AMOUNT_MAX, METERS, USAGES_MAX

PLANNED_CALLS_MAX = 100
COUNT_MAX = 10_000


def plan_from_proto(calls: Sequence[prices_pb2.PlannedCall]) -> list[PlannedCall]:
    """Return what a run may do, each item once, or refuse it."""
    fields.require_size("calls", calls, size_max=PLANNED_CALLS_MAX)
    plan: list[PlannedCall] = []
    for i, call in enumerate(calls):
        planned = _call_from_proto(f"calls[{i}]", call)
        if any(planned.item == before.item for before in plan):
            raise InvalidField(f"calls[{i}].item", "came before; add the calls up")
        plan.append(planned)
    return plan


def _call_from_proto(field: str, call: prices_pb2.PlannedCall) -> PlannedCall:
    item = texts.item(call.item, field=f"{field}.item")
    fields.require_range(f"{field}.count_most", call.count_most, least=1, most=COUNT_MAX)
    fields.require_range(f"{field}.count_least", call.count_least, least=0, most=call.count_most)
    likely = call.count_likely if call.HasField("count_likely") else None
    if likely is not None:
        name = f"{field}.count_likely"
        fields.require_range(name, likely, least=call.count_least, most=call.count_most)
    fields.require_size(f"{field}.usages", call.usages, size_max=USAGES_MAX)
    usages: list[UsageRange] = []
    for i, usage in enumerate(call.usages):
        found = _range_from_proto(f"{field}.usages[{i}]", usage)
        if any(found.meter is before.meter for before in usages):
            raise InvalidField(f"{field}.usages[{i}].meter", "came before; add the amounts up")
        usages.append(found)
    return PlannedCall(item, call.count_least, call.count_most, tuple(usages), likely)


def _range_from_proto(field: str, usage: prices_pb2.UsageRange) -> UsageRange:
    if usage.meter not in METERS:
        raise InvalidField(f"{field}.meter", "is required, such as METER_INPUT_TOKENS")
    fields.require_range(f"{field}.most", usage.most, least=0, most=AMOUNT_MAX)
    fields.require_range(f"{field}.least", usage.least, least=0, most=usage.most)
    likely = usage.likely if usage.HasField("likely") else None
    if likely is not None:
        fields.require_range(f"{field}.likely", likely, least=usage.least, most=usage.most)
    return UsageRange(METERS[usage.meter], usage.least, usage.most, likely)


def quote_to_proto(quote: Quote, table: PriceTable) -> prices_pb2.QuoteRunResponse:
    """Return a quote in gas and money."""
    return prices_pb2.QuoteRunResponse(
        gas=_range_to_proto(quote.gas),
        lines=(
            prices_pb2.QuoteLine(item=item, gas=_range_to_proto(gas)) for item, gas in quote.lines
        ),
        assumptions=map(_assumption_to_proto, quote.assumptions),
        price_version=table.version,
        cost_least=cost_to_proto(quote.gas.least, table.rate),
        cost_likely=cost_to_proto(quote.gas.likely, table.rate),
        cost_most=cost_to_proto(quote.gas.most, table.rate),
    )


def _range_to_proto(gas: GasRange) -> prices_pb2.GasRange:
    return prices_pb2.GasRange(gas_least=gas.least, gas_likely=gas.likely, gas_most=gas.most)


def _assumption_to_proto(assumption: Assumption) -> prices_pb2.Assumption:
    meter = assumption.meter.value if assumption.meter else "METER_UNSPECIFIED"
    return prices_pb2.Assumption(
        item=assumption.item,
        meter=action_pb2.Usage.Meter.Value(meter),
        least=assumption.least,
        likely=assumption.likely,
        most=assumption.most,
        basis=prices_pb2.Assumption.Basis.Value(assumption.basis.value),
        charge_count=assumption.charge_count,
    )
