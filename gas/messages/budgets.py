"""Budgets in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actionvm.gas.v1 import budgets_pb2, gas_pb2
from chassis import fields
from chassis.clock import is_time_zone
from chassis.errors import InvalidField

from .. import texts
from ..budgets import Budget, BudgetWarning, Origin
from ..prices import GAS_MAX
from ..windows import Period

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

WINDOW_SECONDS_MIN, WINDOW_SECONDS_MAX = 60, 366 * 86_400
TIME_ZONE_SIZE_MAX = 64
_ORIGINS = {
    gas_pb2.Budget.ORIGIN_MANIFEST: Origin.MANIFEST,
    gas_pb2.Budget.ORIGIN_OPERATOR: Origin.OPERATOR,
}
_PERIODS = {
    gas_pb2.Budget.PERIOD_TOTAL: Period.TOTAL,
    gas_pb2.Budget.PERIOD_HOUR: Period.HOUR,
    gas_pb2.Budget.PERIOD_DAY: Period.DAY,
    gas_pb2.Budget.PERIOD_MONTH: Period.MONTH,
    gas_pb2.Budget.PERIOD_SLIDING: Period.SLIDING,
}


def budget_from_proto(budget: gas_pb2.Budget) -> Budget:
    """Return a budget, or refuse it."""
    account = texts.payer("budget.account", budget.account)
    is_agent = account.startswith("agents/")
    if budget.origin not in _ORIGINS:
        raise InvalidField("budget.origin", "is required, such as ORIGIN_OPERATOR")
    origin = _ORIGINS[budget.origin]
    if origin is Origin.MANIFEST and not is_agent:
        raise InvalidField("budget.origin", "is that of an agent; a tenant has no manifest")
    if budget.period not in _PERIODS:
        raise InvalidField("budget.period", "is required, such as PERIOD_DAY")
    fields.require_range("budget.gas_limit", budget.gas_limit, least=1, most=GAS_MAX)
    if budget.run and not is_agent:
        raise InvalidField("budget.run", "is that of an agent; limit the agent instead")
    if budget.time_zone and not is_time_zone(budget.time_zone[:TIME_ZONE_SIZE_MAX]):
        raise InvalidField("budget.time_zone", "is unknown; use one such as 'Europe/Berlin'")
    period = _PERIODS[budget.period]
    if budget.time_zone and period in {Period.TOTAL, Period.SLIDING}:
        raise InvalidField("budget.time_zone", "has no effect on this period; leave it out")
    window = budget.window if budget.HasField("window") else None
    return Budget(
        account=account,
        origin=origin,
        period=period,
        gas_limit=budget.gas_limit,
        id=texts.budget_id(budget.id) if budget.id else Budget.id,
        run=texts.run(budget.run, field="budget.run") if budget.run else "",
        item=texts.item_pattern("budget.item", budget.item) if budget.item else "",
        time_zone=budget.time_zone,
        window_seconds=_window_seconds(period, window),
        soft=budget.soft,
    )


def _window_seconds(period: Period, window: Duration | None) -> int:
    if period is not Period.SLIDING:
        if window is not None:
            raise InvalidField("budget.window", "is for PERIOD_SLIDING only; leave it out")
        return 0
    if window is None:
        raise InvalidField("budget.window", "is required for PERIOD_SLIDING")
    least, most = WINDOW_SECONDS_MIN, WINDOW_SECONDS_MAX
    fields.require_range("budget.window", window.seconds, least=least, most=most)
    if window.nanos:
        raise InvalidField("budget.window", "has a fraction of a second; use whole seconds")
    return window.seconds


def budget_to_proto(budget: Budget) -> gas_pb2.Budget:
    """Return a budget with what is spent of it."""
    message = gas_pb2.Budget(
        account=budget.account,
        origin=next(key for key, value in _ORIGINS.items() if value is budget.origin),
        period=next(key for key, value in _PERIODS.items() if value is budget.period),
        gas_limit=budget.gas_limit,
        gas_spent=budget.gas_spent,
        id=budget.id,
        name=budget.name,
        run=budget.run,
        item=budget.item,
        time_zone=budget.time_zone,
        soft=budget.soft,
    )
    if budget.period is Period.SLIDING:
        message.window.FromSeconds(budget.window_seconds)
    return message


def warning_to_proto(warning: BudgetWarning) -> budgets_pb2.BudgetWarning:
    """Return what to say about a budget."""
    return budgets_pb2.BudgetWarning(
        budget=warning.budget,
        percent=warning.percent,
        gas_spent=warning.gas_spent,
        gas_limit=warning.gas_limit,
        soft=warning.soft,
    )
