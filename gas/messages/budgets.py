"""Budgets in messages."""

from __future__ import annotations

from actionvm.gas.v1 import gas_pb2
from chassis import fields
from chassis.errors import InvalidField

from .. import ledger, texts
from ..prices import GAS_MAX

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


def budget_from_proto(budget: gas_pb2.Budget) -> ledger.Budget:
    """Return a budget, or refuse it."""
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


def budget_to_proto(budget: ledger.Budget) -> gas_pb2.Budget:
    """Return a budget with what is spent of it."""
    return gas_pb2.Budget(
        account=budget.account,
        origin=next(key for key, value in _ORIGINS.items() if value is budget.origin),
        period=next(key for key, value in _PERIODS.items() if value is budget.period),
        gas_limit=budget.gas_limit,
        gas_spent=budget.gas_spent,
    )
