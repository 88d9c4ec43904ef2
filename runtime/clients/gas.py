"""The port `GasMeter` over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, gas_pb2_grpc, metering_pb2, metering_pb2_grpc
from chassis.coalescer import Coalescer

from ..facts import Callers, Charge, Receipt, Usage
from ..ports import ONE_CALL, Hold
from ..program import Budget
from .refusals import until_answered, within_run
from .values import callers_to_proto, usages_of, usages_to_proto

# Of one call of `MeterGas`; the contract takes twice as many.
OPERATIONS_MAX = 128

_PERIODS = {
    "total": gas_pb2.Budget.PERIOD_TOTAL,
    "hour": gas_pb2.Budget.PERIOD_HOUR,
    "day": gas_pb2.Budget.PERIOD_DAY,
    "month": gas_pb2.Budget.PERIOD_MONTH,
}


class GasClient:
    """`GasMeter` over a channel to the gas system. What many ask for at once goes as one call."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = gas_pb2_grpc.GasServiceStub(channel)
        meter = metering_pb2_grpc.MeteringServiceStub(channel).MeterGas
        self._meter = Coalescer[metering_pb2.MeterOperation, metering_pb2.MeterOutcome](
            lambda operations: meter(metering_pb2.MeterGasRequest(operations=operations)),
            size_max=OPERATIONS_MAX,
        )

    async def declare_budget(self, account: str, budget: Budget) -> None:
        """Set the limit of the manifest; see `GasMeter`."""
        limit = gas_pb2.Budget(
            account=account,
            origin=gas_pb2.Budget.ORIGIN_MANIFEST,
            period=_PERIODS[budget.period],
            gas_limit=budget.gas,
            time_zone=budget.time_zone,
        )
        await self._limit(limit)

    async def limit_run(self, *, run: str, account: str, gas: int) -> None:
        """Set the limit of a run; see `GasMeter`."""
        limit = gas_pb2.Budget(
            account=account,
            origin=gas_pb2.Budget.ORIGIN_MANIFEST,
            id=run.removeprefix("runs/"),
            run=run,
            period=gas_pb2.Budget.PERIOD_TOTAL,
            gas_limit=gas,
        )
        await self._limit(limit)

    async def _limit(self, limit: gas_pb2.Budget) -> None:
        with within_run("gas", "GAS_FAILED"):
            await self._stub.SetBudget(gas_pb2.SetBudgetRequest(budget=limit))

    async def quote(self, *, item: str) -> int:
        """Return the gas of one call of a connector; see `GasMeter`."""
        with within_run("gas", "GAS_FAILED"):
            quoted = await self._stub.QuoteGas(
                gas_pb2.QuoteGasRequest(item=item, usages=usages_to_proto(ONE_CALL))
            )
        return quoted.gas

    async def reserve(
        self,
        *,
        request_id: str,
        account: str,
        run: str,
        callers: Callers,
        item: str,
        usages: Sequence[Usage] = ONE_CALL,
    ) -> Hold:
        """Hold gas for the most that is used; see `GasMeter`."""
        request = gas_pb2.ReserveGasRequest(
            request_id=request_id,
            account=account,
            run=run,
            callers=callers_to_proto(callers),
            item=item,
            usages=usages_to_proto(usages),
        )
        with within_run("gas", "GAS_FAILED"):
            outcome = await self._meter.call(metering_pb2.MeterOperation(reserve=request))
        return Hold(outcome.hold.name, outcome.hold.gas)

    async def settle(self, hold: Hold, usages: Sequence[Usage] = ONE_CALL) -> int:
        """Charge what was used; see `GasMeter`."""
        request = gas_pb2.SettleGasRequest(hold=hold.name, usages=usages_to_proto(usages))
        with within_run("gas", "GAS_FAILED"):
            outcome = await self._meter.call(metering_pb2.MeterOperation(settle=request))
        return outcome.hold.charged_gas

    async def close(self, *, run: str, account: str) -> Receipt:
        """End the spending of a run; see `GasMeter`."""
        request = gas_pb2.CloseRunRequest(run=run, account=account)
        with until_answered("gas"):
            response = await self._stub.CloseRun(request)
        return _receipt(response.receipt)


def _receipt(receipt: action_pb2.Receipt) -> Receipt:
    return Receipt(
        run=receipt.run,
        account=receipt.account,
        charges=tuple(
            Charge(
                line=charge.line,
                item=charge.item,
                usages=usages_of(charge.usages),
                gas=charge.gas,
                price_version=charge.price_version,
            )
            for charge in receipt.charges
        ),
        total_gas=receipt.total_gas,
        sha256=receipt.digest.sha256,
        size_bytes=receipt.digest.size_bytes,
    )
