"""What a run costs its user, and who gets the creator's part of it: exact integers of micros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chassis.errors import InvalidField

from ..prices import Rate

BASIS_POINTS = 10_000
# What the contract and the databases can hold.
MICROS_MAX = 2**63 - 1


@dataclass(frozen=True)
class FeeSchedule:
    """What an agent costs besides its gas; `discounts` are basis points by payment token.

    `account` is empty for the default, and `version` is 0 if nothing was ever set.
    """

    account: str = ""
    service_cost_micros: int = 0
    commission_basis_points: int = 0
    discounts: Mapping[str, int] = field(default_factory=dict)
    creator_fee_micros: int = 0
    creator_basis_points: int = 0
    dao: str = ""
    version: int = 0


@dataclass(frozen=True)
class Holding:
    """What one holder has of a DAO; `units` are at least 1."""

    holder: str
    units: int


@dataclass(frozen=True)
class Dao:
    """Those who share the fee of a creator; each holder comes once."""

    name: str
    holdings: tuple[Holding, ...]
    version: int = 0


@dataclass(frozen=True)
class Payout:
    """What somebody gets."""

    holder: str
    micros: int


@dataclass(frozen=True)
class RunPrice:
    """What a run costs, and by which fees."""

    gas: int
    actionvm_micros: int
    creator_micros: int
    commission_micros: int
    discount_micros: int
    payouts: tuple[Payout, ...]
    payment_token: str
    schedule: FeeSchedule
    dao_version: int
    rate: Rate

    @property
    def total_micros(self) -> int:
        """Return what the user pays."""
        paid = self.actionvm_micros + self.creator_micros + self.commission_micros
        return paid - self.discount_micros

    @property
    def parts(self) -> tuple[tuple[str, str, int], ...]:
        """Return who gets how much for what; the sum is what the user pays."""
        parts = (
            ("fees/actionvm", "fee actionvm", self.actionvm_micros),
            (self.schedule.dao, "fee creator", self.creator_micros),
            ("fees/marketplace", "fee service", self.commission_micros - self.discount_micros),
        )
        return tuple(part for part in parts if part[2])


@dataclass(frozen=True)
class Bill:
    """What a user owes for a run. It is made once, and never changes."""

    run: str
    account: str
    price: RunPrice
    create_time: datetime


def price_run(
    gas_by_rate: Mapping[Rate, int],
    *,
    schedule: FeeSchedule,
    dao: Dao | None,
    payment_token: str,
) -> RunPrice:
    """Return what gas costs; `dao` is that of the schedule, if it names one.

    The rates are one or more of one currency; the price names the last. Raise `InvalidField` for
    `gas` if money cannot be counted so far.
    """
    rate = list(gas_by_rate)[-1]
    assert {one.currency for one in gas_by_rate} == {rate.currency}, "money of one kind adds up"
    gas_micros = sum(one.micros(gas) for one, gas in gas_by_rate.items())
    actionvm = gas_micros + schedule.service_cost_micros
    creator = schedule.creator_fee_micros + _part(actionvm, schedule.creator_basis_points)
    assert not creator or dao is not None, "a fee of a creator has somebody who gets it"
    commission = _part(actionvm + creator, schedule.commission_basis_points)
    price = RunPrice(
        gas=sum(gas_by_rate.values()),
        actionvm_micros=actionvm,
        creator_micros=creator,
        commission_micros=commission,
        discount_micros=_part(commission, schedule.discounts.get(payment_token, 0)),
        payouts=share_out(creator, dao.holdings) if dao else (),
        payment_token=payment_token,
        schedule=schedule,
        dao_version=dao.version if dao else 0,
        rate=rate,
    )
    if actionvm + creator + commission > MICROS_MAX:
        raise InvalidField("gas", f"costs more than {MICROS_MAX} micros; lower the rate of gas")
    return price


def share_out(micros: int, holdings: Sequence[Holding]) -> tuple[Payout, ...]:
    """Split money in proportion to holdings, by holder; the sum is exactly what was split.

    Largest remainder: everybody gets the whole part of their share, and what is left goes micro by
    micro to the largest fractions, of equal ones by name. Who gets nothing is left out.
    """
    assert holdings, "somebody holds it"
    total = sum(holding.units for holding in holdings)
    shares = {holding.holder: divmod(micros * holding.units, total) for holding in holdings}
    left = micros - sum(whole for whole, _ in shares.values())
    lucky = sorted(shares, key=lambda holder: (-shares[holder][1], holder))[:left]
    paid = {holder: whole for holder, (whole, _) in shares.items()}
    for holder in lucky:
        paid[holder] += 1
    return tuple(Payout(holder, paid[holder]) for holder in sorted(paid) if paid[holder])


def _part(micros: int, basis_points: int) -> int:
    return micros * basis_points // BASIS_POINTS
