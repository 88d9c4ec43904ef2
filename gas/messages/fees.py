"""Fees, holdings, prices and bills in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from actionvm.gas.v1 import market_pb2, prices_pb2
from chassis import fields
from chassis.errors import InvalidField

from .. import texts
from ..market.fees import BASIS_POINTS, Bill, Dao, FeeSchedule, Holding, Payout, RunPrice
from .usages import timestamp_to_proto

MICROS_MAX = 10**12
CREATOR_BASIS_POINTS_MAX = 10 * BASIS_POINTS
DISCOUNTS_MAX = 100
HOLDINGS_MAX = 10_000
UNITS_MAX = 10**15
_TOKEN = re.compile(r"[A-Z0-9]{1,16}")
_DAO = re.compile(r"daos/[a-z0-9-]{1,63}")
_HOLDER = re.compile(r"[!-~]{1,128}")


def dao_name(field: str, value: str) -> str:
    """Return the name of a DAO."""
    return fields.require_match(field, value, _DAO, example="daos/brief-makers")


def payment_token(value: str) -> str:
    """Return the symbol of a token, or nothing."""
    if not value:
        return value
    return fields.require_match("payment_token", value, _TOKEN, example="MAGNET")


def schedule_from_proto(schedule: market_pb2.FeeSchedule) -> FeeSchedule:
    """Return fees, or refuse them."""
    within = "schedule."
    for field, most in _LIMITS.items():
        fields.require_range(within + field, getattr(schedule, field), least=0, most=most)
    fields.require_size(
        f"{within}discounts", schedule.discounts, size_min=0, size_max=DISCOUNTS_MAX
    )
    discounts: dict[str, int] = {}
    for i, discount in enumerate(schedule.discounts):
        path = f"{within}discounts[{i}]"
        fields.require_match(f"{path}.token", discount.token, _TOKEN, example="MAGNET")
        if discount.token in discounts:
            raise InvalidField(f"{path}.token", "comes again")
        points = discount.discount_basis_points
        fields.require_range(f"{path}.discount_basis_points", points, least=0, most=BASIS_POINTS)
        discounts[discount.token] = points
    has_fee = schedule.creator_fee_micros or schedule.creator_basis_points
    if has_fee and not schedule.dao:
        raise InvalidField(f"{within}dao", "is required: the creator's fee is paid to it")
    return FeeSchedule(
        account=texts.account(f"{within}account", schedule.account) if schedule.account else "",
        service_cost_micros=schedule.service_cost_micros,
        commission_basis_points=schedule.commission_basis_points,
        discounts=discounts,
        creator_fee_micros=schedule.creator_fee_micros,
        creator_basis_points=schedule.creator_basis_points,
        dao=dao_name(f"{within}dao", schedule.dao) if schedule.dao else "",
    )


_LIMITS = {
    "service_cost_micros": MICROS_MAX,
    "commission_basis_points": BASIS_POINTS,
    "creator_fee_micros": MICROS_MAX,
    "creator_basis_points": CREATOR_BASIS_POINTS_MAX,
}


def schedule_to_proto(schedule: FeeSchedule) -> market_pb2.FeeSchedule:
    """Return fees."""
    return market_pb2.FeeSchedule(
        account=schedule.account,
        service_cost_micros=schedule.service_cost_micros,
        commission_basis_points=schedule.commission_basis_points,
        discounts=(
            market_pb2.TokenDiscount(token=token, discount_basis_points=points)
            for token, points in sorted(schedule.discounts.items())
        ),
        creator_fee_micros=schedule.creator_fee_micros,
        creator_basis_points=schedule.creator_basis_points,
        dao=schedule.dao,
        version=schedule.version,
    )


def dao_from_proto(dao: market_pb2.Dao) -> Dao:
    """Return holdings by holder, or refuse them."""
    name = dao_name("dao.name", dao.name)
    fields.require_size("dao.holdings", dao.holdings, size_max=HOLDINGS_MAX)
    units: dict[str, int] = {}
    for i, holding in enumerate(dao.holdings):
        path = f"dao.holdings[{i}]"
        fields.require_match(f"{path}.holder", holding.holder, _HOLDER, example="0x52908400098527")
        if holding.holder in units:
            raise InvalidField(f"{path}.holder", "comes again; add the units up")
        fields.require_range(f"{path}.units", holding.units, least=1, most=UNITS_MAX)
        units[holding.holder] = holding.units
    return Dao(name, tuple(Holding(holder, units[holder]) for holder in sorted(units)))


def dao_to_proto(dao: Dao) -> market_pb2.Dao:
    """Return holdings."""
    holdings = (
        market_pb2.Holding(holder=holding.holder, units=holding.units) for holding in dao.holdings
    )
    return market_pb2.Dao(name=dao.name, holdings=holdings, version=dao.version)


def payouts_to_proto(payouts: Iterable[Payout]) -> list[market_pb2.Payout]:
    """Return who gets how much."""
    return [market_pb2.Payout(holder=paid.holder, micros=paid.micros) for paid in payouts]


def price_to_proto(price: RunPrice) -> market_pb2.RunPrice:
    """Return what a run costs."""
    return market_pb2.RunPrice(
        gas=price.gas,
        actionvm_micros=price.actionvm_micros,
        service_cost_micros=price.schedule.service_cost_micros,
        creator_micros=price.creator_micros,
        commission_micros=price.commission_micros,
        discount_micros=price.discount_micros,
        total_micros=price.total_micros,
        currency=price.rate.currency,
        dao=price.schedule.dao,
        payouts=payouts_to_proto(price.payouts),
        payment_token=price.payment_token,
        schedule=schedule_to_proto(price.schedule),
        dao_version=price.dao_version,
        rate=prices_pb2.Rate(
            micros_per_thousand_gas=price.rate.micros_per_thousand_gas,
            currency=price.rate.currency,
        ),
    )


def bill_to_proto(bill: Bill) -> market_pb2.Bill:
    """Return what a user owes for a run."""
    return market_pb2.Bill(
        run=bill.run,
        account=bill.account,
        price=price_to_proto(bill.price),
        create_time=timestamp_to_proto(bill.create_time),
    )
