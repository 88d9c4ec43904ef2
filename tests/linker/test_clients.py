"""The gas client says what gas says, in the linker's own words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import any_pb2

from actionvm.action.v1.action_pb2 import Caller, Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import metering_pb2, metering_pb2_grpc
from actionvm.gas.v1.budgets_pb2 import TokenCount
from chassis.config import ServiceConfig
from chassis.errors import (
    FailedPrecondition,
    PeerUnavailable,
    RequestIdReused,
    ResourceExhausted,
    ServiceError,
)
from chassis.interceptors import status_of
from chassis.server import Hosted, start_server
from chassis.tls import Bearer
from linker.clients import GasClient
from linker.conversation import Tokens
from linker.errors import BudgetExceeded, GasRefused
from linker.ports import Hold, Reservation
from linker.tokens import Count, Counter
from tests.grpc_fixtures import identities_json, token_of
from tests.linker.orders import ACCOUNT, BOSS, RUN

DESCRIPTOR = metering_pb2.DESCRIPTOR.services_by_name["MeteringService"]
HOLD = "holds/00000000-0000-4000-8000-000000000007"
RESERVATION = Reservation("r1", ACCOUNT, RUN, (BOSS,), "model local/babbler", Tokens(11, 22))


@dataclass(eq=False)
class Refusal(FailedPrecondition):
    """An answer of gas with a reason of choice."""

    message = "gas says no"

    reason: str  # type: ignore[misc]  # one class for all reasons


@dataclass(eq=False)
class Poor(ResourceExhausted):
    reason = "BUDGET_EXCEEDED"
    message = "5 gas are left"


class FakeGas:
    """A gas system that answers with one hold, or with one error."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.error: ServiceError | None = None

    async def MeterGas(self, request: metering_pb2.MeterGasRequest, context: object) -> object:
        return metering_pb2.MeterGasResponse(outcomes=map(self._outcome, request.operations))

    def _outcome(self, operation: metering_pb2.MeterOperation) -> metering_pb2.MeterOutcome:
        self.requests.append(getattr(operation, operation.WhichOneof("operation") or ""))
        if self.error is None:
            return metering_pb2.MeterOutcome(hold=pb.Hold(name=HOLD, charged_gas=33))
        refusal = any_pb2.Any()
        refusal.Pack(status_of(self.error, "gas.actionvm"))
        return metering_pb2.MeterOutcome(refusal=refusal)


@pytest.fixture
def gas() -> FakeGas:
    return FakeGas()


@pytest_asyncio.fixture
async def client(gas: FakeGas, tmp_path: Path) -> AsyncIterator[GasClient]:
    (tmp_path / "identities.json").write_text(identities_json())
    config = ServiceConfig(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        identities_file=tmp_path / "identities.json",
        token_file=tmp_path / "token",
        tls="off",
    )
    hosted = Hosted(
        descriptor=DESCRIPTOR,
        add_to=lambda server: metering_pb2_grpc.add_MeteringServiceServicer_to_server(gas, server),  # type: ignore[arg-type]  # a fake
        callers={method.name: frozenset({"linker"}) for method in DESCRIPTOR.methods},
    )
    server = await start_server(config, hosted)
    channel = Bearer(token_of("linker")).connect(server.address, "peer")
    yield GasClient(channel)
    await channel.close(None)
    await server.grpc_server.stop(0)


async def test_a_reservation_carries_the_worst_case(client: GasClient, gas: FakeGas) -> None:
    assert await client.reserve(RESERVATION) == Hold(HOLD)
    (request,) = gas.requests
    assert (request.request_id, request.account, request.run) == ("r1", ACCOUNT, RUN)
    assert request.item == "model local/babbler"
    assert [usage.amount for usage in request.usages] == [11, 22]
    assert list(request.callers) == [Caller(account=BOSS.account, run=BOSS.run)]


async def test_a_settlement_returns_what_was_charged(client: GasClient, gas: FakeGas) -> None:
    assert await client.settle(HOLD, Tokens(1, 2)) == 33
    assert [usage.amount for usage in gas.requests[0].usages] == [1, 2]
    assert not gas.requests[0].token_counts


@pytest.mark.parametrize("counter", Counter)
async def test_a_settlement_says_what_was_counted_of_the_input_and_by_whom(
    client: GasClient, gas: FakeGas, counter: Counter
) -> None:
    await client.settle(HOLD, Tokens(10, 2), Count(12, counter))
    counts = [
        (one.meter, TokenCount.Counter.Name(one.counter), one.amount)
        for one in gas.requests[0].token_counts
    ]
    assert counts == [
        (Usage.METER_INPUT_TOKENS, "COUNTER_PROVIDER", 10),
        (Usage.METER_INPUT_TOKENS, counter.value, 12),
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Poor(), BudgetExceeded),
        (Refusal("BUDGET_MISSING"), GasRefused),
        (Refusal("RUN_CLOSED"), GasRefused),
        (Refusal("PRICE_NOT_FOUND"), GasRefused),
        (RequestIdReused("r1"), RequestIdReused),
        (PeerUnavailable("disk"), PeerUnavailable),
    ],
    ids=lambda value: getattr(value, "reason", ""),
)
async def test_what_gas_refuses_has_a_reason_of_ours(
    client: GasClient, gas: FakeGas, answer: ServiceError, error: type[ServiceError]
) -> None:
    gas.error = answer
    with pytest.raises(error):
        await client.reserve(RESERVATION)


async def test_a_hold_that_was_given_back_is_refused(client: GasClient, gas: FakeGas) -> None:
    gas.error = Refusal("HOLD_RELEASED")
    with pytest.raises(GasRefused, match="gas says no"):
        await client.settle(HOLD, Tokens(1, 2))


async def test_gas_that_is_down_is_unavailable() -> None:
    channel = Bearer(token_of("linker")).connect("127.0.0.1:1", "peer")
    with pytest.raises(PeerUnavailable, match="gas does not answer"):
        await GasClient(channel).reserve(RESERVATION)
    await channel.close(None)
