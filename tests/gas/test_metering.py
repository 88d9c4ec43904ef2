"""Many operations in one call are answered as each would be in a call of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from actionvm.gas.v1 import gas_pb2
from actionvm.gas.v1 import metering_pb2 as pb
from chassis.errors import ServiceError
from chassis.interceptors import status_of
from gas.service import CALLERS, GasService
from tests.gas.calls import Stub, bad_field, reason, reserve, used
from tests.gas.ledgers import ACCOUNT, MODEL, budget, hold_names, open_ledger, run_name
from tests.grpc_fixtures import StubAs
from tests.simulation.loop import VirtualTimeLoop

SEED = 3
HOLDS = st.sampled_from([*islice(hold_names(SEED), 4), next(hold_names(SEED + 1)), "holds/1"])
USAGES = st.lists(st.builds(used, st.integers(-1, 60), st.sampled_from([1, 3, 99])), max_size=2)
OPERATIONS = st.one_of(
    st.builds(
        gas_pb2.ReserveGasRequest,
        request_id=st.sampled_from(["r1", "r2", "r3", ""]),
        account=st.sampled_from([ACCOUNT, ACCOUNT, "agents/poor", "x"]),
        run=st.sampled_from([run_name(1), run_name(2)]),
        item=st.sampled_from([MODEL, MODEL, "model x/y"]),
        usages=USAGES,
    ).map(lambda request: pb.MeterOperation(reserve=request)),
    st.builds(gas_pb2.SettleGasRequest, hold=HOLDS, usages=USAGES, keep_open=st.booleans()).map(
        lambda request: pb.MeterOperation(settle=request)
    ),
    st.builds(gas_pb2.ReleaseGasRequest, hold=HOLDS).map(
        lambda request: pb.MeterOperation(release=request)
    ),
)


@given(st.lists(OPERATIONS, min_size=1, max_size=12))
def test_an_outcome_is_that_of_a_call_of_its_own(operations: list[pb.MeterOperation]) -> None:
    async def together() -> Sequence[pb.MeterOutcome]:
        response = await _open_service().MeterGas(
            pb.MeterGasRequest(operations=operations), cast("Any", None)
        )
        return response.outcomes

    async def alone() -> list[pb.MeterOutcome]:
        service = _open_service()
        return [await _alone(service, operation) for operation in operations]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert list(runner.run(together())) == runner.run(alone())


def _open_service() -> GasService:
    ledger = open_ledger(dice=random.Random(SEED))
    ledger.set_budget(budget(100))
    return GasService(ledger.store)


async def _alone(service: GasService, operation: pb.MeterOperation) -> pb.MeterOutcome:
    kind = operation.WhichOneof("operation") or ""
    method = getattr(service, f"{kind.capitalize()}Gas")
    try:
        response = await method(getattr(operation, kind), None)
    except ServiceError as error:
        outcome = pb.MeterOutcome()
        outcome.refusal.Pack(status_of(error, "gas.actionvm"))
        return outcome
    return pb.MeterOutcome(hold=response.hold, warnings=getattr(response, "warnings", ()))


def test_one_that_is_refused_does_not_keep_the_others_from_being_done(
    runtime: Stub, account: str
) -> None:
    operations = [
        pb.MeterOperation(reserve=reserve(account, 60)),
        pb.MeterOperation(reserve=reserve(account, 60)),
        pb.MeterOperation(reserve=reserve("babbler", 1)),
        pb.MeterOperation(),
        pb.MeterOperation(reserve=reserve(account, 40)),
    ]

    outcomes = runtime.MeterGas(pb.MeterGasRequest(operations=operations)).outcomes

    assert [outcome.hold.gas for outcome in outcomes] == [60, 0, 0, 0, 40]
    assert list(map(_refusal, outcomes)) == [
        ("", ""),
        ("BUDGET_EXCEEDED", ""),
        ("INVALID_FIELD", "account"),
        ("INVALID_FIELD", "operations[3]"),
        ("", ""),
    ]
    assert [warning.percent for warning in outcomes[4].warnings] == [100]


def test_a_call_that_is_repeated_gives_the_same_holds(runtime: Stub, account: str) -> None:
    request = pb.MeterGasRequest(
        operations=[pb.MeterOperation(reserve=reserve(account, 10)) for _ in range(3)]
    )

    first, second = (runtime.MeterGas(request).outcomes for _ in range(2))

    assert [outcome.hold for outcome in first] == [outcome.hold for outcome in second]
    assert len({outcome.hold.name for outcome in first}) == 3


@pytest.mark.parametrize("count", [0, 257])
def test_a_call_has_1_to_256_operations(runtime: Stub, count: int) -> None:
    request = pb.MeterGasRequest(operations=[pb.MeterOperation()] * count)

    assert bad_field(runtime.MeterGas, request) == "operations"


def test_as_many_operations_as_are_allowed_are_answered(runtime: Stub, account: str) -> None:
    operations = [pb.MeterOperation(reserve=reserve(account, 1)) for _ in range(256)]

    outcomes = runtime.MeterGas(pb.MeterGasRequest(operations=operations)).outcomes

    assert [bool(outcome.hold.name) for outcome in outcomes] == 100 * [True] + 156 * [False]


def test_nobody_does_with_many_what_they_may_not_do_with_one(grpc_stub_as: StubAs) -> None:
    for method in ("ReserveGas", "SettleGas", "ReleaseGas"):
        assert CALLERS["MeterGas"] <= CALLERS[method]
    assert reason(grpc_stub_as("operator").MeterGas, pb.MeterGasRequest()) == "METHOD_DENIED"


def _refusal(outcome: pb.MeterOutcome) -> tuple[str, str]:
    """Return reason and field of a refusal."""
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = status_pb2.Status()
    outcome.refusal.Unpack(status)
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    return info.reason, "".join(one.field for one in bad_request.field_violations)
