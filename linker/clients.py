"""The gas system over gRPC."""

from __future__ import annotations

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2, gas_pb2, metering_pb2, metering_pb2_grpc
from chassis.channel import RemoteError, translated
from chassis.coalescer import Coalescer
from chassis.errors import RequestIdReused, ServiceError

from .conversation import Tokens
from .errors import BudgetExceeded, GasRefused
from .ports import Reservation
from .tokens import Count

# Of one call of `MeterGas`; the contract takes twice as many.
OPERATIONS_MAX = 128


class GasClient:
    """`GasMeter` over a channel to the gas system. What many ask for at once goes as one call."""

    def __init__(self, channel: aio.Channel) -> None:
        meter = metering_pb2_grpc.MeteringServiceStub(channel).MeterGas
        self._meter = Coalescer[metering_pb2.MeterOperation, metering_pb2.MeterOutcome](
            lambda operations: meter(metering_pb2.MeterGasRequest(operations=operations)),
            size_max=OPERATIONS_MAX,
        )

    async def reserve(self, reservation: Reservation) -> str:
        """Return the hold; see `GasMeter`."""

        def refused(remote: RemoteError) -> ServiceError:
            return GasRefused(reservation.account, remote.message)

        known = {
            "BUDGET_EXCEEDED": lambda remote: BudgetExceeded(reservation.account, remote.message),
            "BUDGET_MISSING": refused,
            "RUN_CLOSED": refused,
            "PRICE_NOT_FOUND": refused,
            "REQUEST_ID_REUSED": lambda _: RequestIdReused(reservation.request_id),
        }
        request = gas_pb2.ReserveGasRequest(
            request_id=reservation.request_id,
            account=reservation.account,
            run=reservation.run,
            item=reservation.item,
            usages=usages_of(reservation.worst),
            callers=(
                action_pb2.Caller(account=caller.account, run=caller.run)
                for caller in reservation.callers
            ),
        )
        with translated("gas", known):
            outcome = await self._meter.call(metering_pb2.MeterOperation(reserve=request))
        assert outcome.hold.name, "gas answers with a hold"
        return outcome.hold.name

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge the hold and return the gas; see `GasMeter`."""
        known = {"HOLD_RELEASED": lambda remote: GasRefused(hold, remote.message)}
        request = gas_pb2.SettleGasRequest(
            hold=hold,
            usages=usages_of(used),
            token_counts=_comparison(used, counted) if counted else (),
        )
        with translated("gas", known):
            outcome = await self._meter.call(metering_pb2.MeterOperation(settle=request))
        return outcome.hold.charged_gas


def _comparison(used: Tokens, counted: Count) -> list[budgets_pb2.TokenCount]:
    counters = budgets_pb2.TokenCount.Counter
    counts = (
        (counters.COUNTER_PROVIDER, used.read),
        (counters.Value(counted.counter.value), counted.amount),
    )
    meter = action_pb2.Usage.METER_INPUT_TOKENS
    return [
        budgets_pb2.TokenCount(meter=meter, counter=counter, amount=amount)
        for counter, amount in counts
    ]


def usages_of(tokens: Tokens) -> list[action_pb2.Usage]:
    """Return tokens as the meters of the contract; those that every model has come first."""
    meters = action_pb2.Usage.Meter
    always = (
        (meters.METER_INPUT_TOKENS, tokens.input),
        (meters.METER_OUTPUT_TOKENS, tokens.output),
    )
    sometimes = (
        (meters.METER_CACHED_INPUT_TOKENS, tokens.cached_input),
        (meters.METER_CACHE_WRITE_TOKENS, tokens.cache_write),
        (meters.METER_REASONING_TOKENS, tokens.reasoning),
        (meters.METER_EMBEDDING_TOKENS, tokens.embedding),
    )
    return [
        action_pb2.Usage(meter=meter, amount=amount)
        for meter, amount in (*always, *(row for row in sometimes if row[1]))
    ]
