"""Agents that spend over gRPC, whose runs can be billed."""

from __future__ import annotations

import uuid
from itertools import count
from typing import Any

import grpc

from actionvm.action.v1.action_pb2 import Caller, Usage
from actionvm.gas.v1 import gas_pb2 as gas
from actionvm.gas.v1 import gas_pb2_grpc, market_pb2_grpc
from actionvm.gas.v1 import market_pb2 as pb
from tests.gas.ledgers import MODEL

NUMBERS = count(1)


class Both:
    """The stubs of both contracts of the process."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stubs = (
            market_pb2_grpc.MarketplaceServiceStub(channel),
            gas_pb2_grpc.GasServiceStub(channel),
        )

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401  # a method of either
        return next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))


class Agent:
    """An agent of its own for each test, with runs that it spends in."""

    def __init__(self, operator: Both, runtime: Both) -> None:
        self.name = f"agents/m{next(NUMBERS)}"
        self.dao = f"daos/{self.name[7:]}"
        self._operator, self._runtime = operator, runtime
        budget = gas.Budget(
            account=self.name,
            origin=gas.Budget.ORIGIN_OPERATOR,
            period=gas.Budget.PERIOD_TOTAL,
            gas_limit=10**15,
        )
        operator.SetBudget(gas.SetBudgetRequest(budget=budget))

    def spend(self, amount: int, *, run: str = "", callers: tuple[Caller, ...] = ()) -> gas.Hold:
        """Spend in a run; return the hold."""
        number = next(NUMBERS)
        usages = [Usage(meter=Usage.METER_INPUT_TOKENS, amount=amount)]
        reserve = gas.ReserveGasRequest(
            request_id=f"m{number}",
            account=self.name,
            run=run or f"runs/{uuid.UUID(int=5_000 + number, version=4)}",
            item=MODEL,
            usages=usages,
            callers=callers,
        )
        hold = self._runtime.ReserveGas(reserve).hold
        settle = gas.SettleGasRequest(hold=hold.name, usages=usages)
        settled: gas.Hold = self._runtime.SettleGas(settle).hold
        return settled

    def close(self, run: str) -> None:
        """Close a run."""
        self._runtime.CloseRun(gas.CloseRunRequest(run=run, account=self.name))

    def closed_run(self, amount: int) -> str:
        """Spend in a new run and close it."""
        run = self.spend(amount).run
        self.close(run)
        return run

    def set_fees(self, **fees: object) -> pb.FeeSchedule:
        """Set the fees of the agent, whose DAO is shared by two."""
        holdings = [pb.Holding(holder="0xb", units=1), pb.Holding(holder="0xa", units=2)]
        dao = pb.Dao(name=self.dao, holdings=holdings)
        self._operator.SetDao(pb.SetDaoRequest(dao=dao))
        schedule = pb.FeeSchedule(account=self.name, **fees)  # type: ignore[arg-type]  # a test
        request = pb.SetFeeScheduleRequest(schedule=schedule)
        answer: pb.SetFeeScheduleResponse = self._operator.SetFeeSchedule(request)
        return answer.schedule


def bill(stub: Both, run: str, token: str = "") -> pb.Bill:
    answer: pb.BillRunResponse = stub.BillRun(pb.BillRunRequest(run=run, payment_token=token))
    return answer.bill
