"""The gas system over gRPC."""

from __future__ import annotations

from grpc import aio

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2, gas_pb2, gas_pb2_grpc
from chassis.channel import RemoteError, translated
from chassis.errors import RequestIdReused, ServiceError

from .conversation import Tokens
from .errors import BudgetExceeded, GasRefused
from .ports import Reservation
from .tokens import Count


class GasClient:
    """`GasMeter` over a channel to the gas system; the channel gives every call its deadline."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = gas_pb2_grpc.GasServiceStub(channel)

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
            response = await self._stub.ReserveGas(request)
        assert response.hold.name, "gas answers with a hold"
        return response.hold.name

    async def settle(self, hold: str, used: Tokens, counted: Count | None = None) -> int:
        """Charge the hold and return the gas; see `GasMeter`."""
        known = {"HOLD_RELEASED": lambda remote: GasRefused(hold, remote.message)}
        request = gas_pb2.SettleGasRequest(
            hold=hold,
            usages=usages_of(used),
            token_counts=_comparison(used, counted) if counted else (),
        )
        with translated("gas", known):
            response = await self._stub.SettleGas(request)
        return response.hold.charged_gas


def _comparison(used: Tokens, counted: Count) -> list[budgets_pb2.TokenCount]:
    counters = budgets_pb2.TokenCount.Counter
    counts = (
        (counters.COUNTER_PROVIDER, used.input),
        (counters.Value(counted.counter.value), counted.amount),
    )
    meter = action_pb2.Usage.METER_INPUT_TOKENS
    return [
        budgets_pb2.TokenCount(meter=meter, counter=counter, amount=amount)
        for counter, amount in counts
    ]


def usages_of(tokens: Tokens) -> list[action_pb2.Usage]:
    """Return tokens as the meters of the contract."""
    meters = action_pb2.Usage.Meter
    return [
        action_pb2.Usage(meter=meters.METER_INPUT_TOKENS, amount=tokens.input),
        action_pb2.Usage(meter=meters.METER_OUTPUT_TOKENS, amount=tokens.output),
    ]
