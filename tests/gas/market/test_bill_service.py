"""What the marketplace answers over gRPC about fees, holdings and bills."""

from __future__ import annotations

import uuid

import pytest

from actionvm.action.v1.action_pb2 import Caller
from actionvm.gas.v1 import gas_pb2 as gas
from actionvm.gas.v1 import market_pb2 as pb
from tests.gas.calls import bad_field, reason
from tests.gas.market.agents import NUMBERS, Agent, Both, bill


def test_a_bill_has_every_part_of_the_price(grpc_stub: Both, agent: Agent) -> None:
    agent.set_fees(
        service_cost_micros=50,
        commission_basis_points=1_000,
        discounts=[pb.TokenDiscount(token="MAGNET", discount_basis_points=5_000)],
        creator_fee_micros=10,
        dao=agent.dao,
    )
    run = agent.closed_run(12_345)

    price = bill(grpc_stub, run, "MAGNET").price

    # A tenth of 12,345, up, and 50; 10; a tenth of 1,295; half of 129.
    parts = (price.actionvm_micros, price.creator_micros, price.commission_micros)
    assert (*parts, price.discount_micros, price.total_micros) == (1_285, 10, 129, 64, 1_360)
    assert [(paid.holder, paid.micros) for paid in price.payouts] == [("0xa", 7), ("0xb", 3)]
    assert (price.gas, price.currency, price.payment_token) == (12_345, "USD", "MAGNET")
    assert (price.service_cost_micros, price.dao, price.dao_version) == (50, agent.dao, 1)
    assert (price.schedule.account, price.schedule.version) == (agent.name, 1)


def test_the_first_bill_stands(grpc_stub: Both, agent: Agent) -> None:
    discount = pb.TokenDiscount(token="MAGNET", discount_basis_points=10_000)
    agent.set_fees(commission_basis_points=1_000, discounts=[discount])
    run = agent.closed_run(10_000)
    first = bill(grpc_stub, run)
    agent.set_fees(commission_basis_points=5_000)

    assert bill(grpc_stub, run, "MAGNET") == first


def test_payouts_add_up_over_bills(grpc_stub: Both, agent: Agent) -> None:
    agent.set_fees(creator_fee_micros=10, dao=agent.dao)
    runs = [agent.closed_run(1), agent.closed_run(1)]
    for run in [*runs, *runs]:
        bill(grpc_stub, run)

    found = grpc_stub.GetDao(pb.GetDaoRequest(name=agent.dao))

    assert [(paid.holder, paid.micros) for paid in found.payouts] == [("0xa", 14), ("0xb", 6)]
    assert [holding.holder for holding in found.dao.holdings] == ["0xa", "0xb"]


def test_a_bill_has_what_was_spent_through_others_less_refunds(
    grpc_stub: Both, agent: Agent, other: Agent
) -> None:
    run = agent.spend(100).run
    called = other.spend(30, callers=(Caller(account=agent.name, run=run),))
    agent.close(run)
    refund = gas.RefundGasRequest(request_id=run, hold=called.name, gas=7, cause="a test")
    grpc_stub.RefundGas(refund)

    assert bill(grpc_stub, run).price.gas == 123


def test_only_a_closed_run_of_a_user_is_billed(grpc_stub: Both, agent: Agent, other: Agent) -> None:
    run = agent.spend(100).run
    called = other.spend(30, callers=(Caller(account=agent.name, run=run),))
    unknown = f"runs/{uuid.UUID(int=1, version=4)}"

    reasons = [
        reason(grpc_stub.BillRun, pb.BillRunRequest(run=name))
        for name in (run, called.run, unknown)
    ]

    assert reasons == ["RUN_OPEN", "RUN_CALLED", "RUN_NOT_FOUND"]


def test_a_run_that_spent_nothing_costs_its_fees(grpc_stub: Both, agent: Agent) -> None:
    agent.set_fees(service_cost_micros=3)
    run = f"runs/{uuid.UUID(int=next(NUMBERS), version=4)}"
    agent.close(run)

    assert bill(grpc_stub, run).price.total_micros == 3


def test_an_agent_without_fees_has_the_default(grpc_stub: Both, agent: Agent) -> None:
    before = grpc_stub.GetFeeSchedule(pb.GetFeeScheduleRequest(account=agent.name)).schedule
    default = pb.FeeSchedule(service_cost_micros=before.service_cost_micros + 1)
    grpc_stub.SetFeeSchedule(pb.SetFeeScheduleRequest(schedule=default))

    found = grpc_stub.GetFeeSchedule(pb.GetFeeScheduleRequest(account=agent.name)).schedule
    request = pb.PriceRunRequest(account=agent.name, gas=10_000)

    assert (found.account, found.version) == ("", before.version + 1)
    assert grpc_stub.PriceRun(request).price.total_micros == 1_001 + before.service_cost_micros
    grpc_stub.SetFeeSchedule(pb.SetFeeScheduleRequest(schedule=pb.FeeSchedule()))


def test_setting_the_same_is_no_new_version(grpc_stub: Both, agent: Agent) -> None:
    versions = [agent.set_fees(service_cost_micros=cost).version for cost in (1, 1, 2)]

    dao = grpc_stub.GetDao(pb.GetDaoRequest(name=agent.dao)).dao
    assert (versions, dao.version) == ([1, 1, 2], 1)


@pytest.mark.parametrize(
    ("fees", "field"),
    [
        ({"account": "agents/"}, "schedule.account"),
        ({"account": "tenants/default"}, "schedule.account"),
        ({"service_cost_micros": -1}, "schedule.service_cost_micros"),
        ({"service_cost_micros": 10**12 + 1}, "schedule.service_cost_micros"),
        ({"commission_basis_points": 10_001}, "schedule.commission_basis_points"),
        ({"creator_fee_micros": 1}, "schedule.dao"),
        ({"creator_basis_points": 1}, "schedule.dao"),
        ({"creator_basis_points": 100_001, "dao": "daos/d"}, "schedule.creator_basis_points"),
        ({"dao": "dao/d"}, "schedule.dao"),
        ({"discounts": [pb.TokenDiscount(token="eth")]}, "schedule.discounts[0].token"),
        ({"discounts": [pb.TokenDiscount(token="E")] * 2}, "schedule.discounts[1].token"),
        (
            {"discounts": [pb.TokenDiscount(token="E", discount_basis_points=10_001)]},
            "schedule.discounts[0].discount_basis_points",
        ),
        (
            {"discounts": [pb.TokenDiscount(token=f"T{n}") for n in range(101)]},
            "schedule.discounts",
        ),
    ],
)
def test_fees_that_make_no_sense_are_refused(
    grpc_stub: Both, fees: dict[str, object], field: str
) -> None:
    schedule = pb.FeeSchedule(**fees)  # type: ignore[arg-type]  # a test

    found = bad_field(grpc_stub.SetFeeSchedule, pb.SetFeeScheduleRequest(schedule=schedule))

    assert found == field


@pytest.mark.parametrize(
    ("dao", "field"),
    [
        (pb.Dao(name="daos/D"), "dao.name"),
        (pb.Dao(name="daos/d"), "dao.holdings"),
        (pb.Dao(name="daos/d", holdings=[pb.Holding(holder="a")]), "dao.holdings[0].units"),
        (pb.Dao(name="daos/d", holdings=[pb.Holding(units=1)]), "dao.holdings[0].holder"),
        (
            pb.Dao(name="daos/d", holdings=[pb.Holding(holder="a b", units=1)]),
            "dao.holdings[0].holder",
        ),
        (
            pb.Dao(name="daos/d", holdings=[pb.Holding(holder="a", units=1)] * 2),
            "dao.holdings[1].holder",
        ),
        (
            pb.Dao(name="daos/d", holdings=[pb.Holding(holder="a", units=10**15 + 1)]),
            "dao.holdings[0].units",
        ),
        (
            pb.Dao(
                name="daos/d",
                holdings=[pb.Holding(holder=f"h{n}", units=1) for n in range(10_001)],
            ),
            "dao.holdings",
        ),
    ],
)
def test_holdings_that_make_no_sense_are_refused(grpc_stub: Both, dao: pb.Dao, field: str) -> None:
    assert bad_field(grpc_stub.SetDao, pb.SetDaoRequest(dao=dao)) == field


def test_ten_thousand_holders_share_a_fee(grpc_stub: Both, agent: Agent) -> None:
    holdings = [pb.Holding(holder=f"{n:0128}", units=n + 1) for n in range(10_000)]
    grpc_stub.SetDao(pb.SetDaoRequest(dao=pb.Dao(name="daos/crowd", holdings=holdings)))
    agent.set_fees(creator_fee_micros=10**12 - 1, dao="daos/crowd")

    price = bill(grpc_stub, agent.closed_run(1)).price

    assert sum(paid.micros for paid in price.payouts) == 10**12 - 1
