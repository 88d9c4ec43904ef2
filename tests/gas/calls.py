"""The calls that tests of the gas system make over gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import grpc
import pytest

from actionvm.action.v1.action_pb2 import Usage
from actionvm.gas.v1 import gas_pb2 as pb
from actionvm.gas.v1 import gas_pb2_grpc, metering_pb2_grpc
from tests.contracts.contract import bad_request, error_info
from tests.gas.ledgers import MODEL


class Stub(gas_pb2_grpc.GasServiceStub, metering_pb2_grpc.MeteringServiceStub):
    """Spends alone and together."""

    def __init__(self, channel: grpc.Channel) -> None:
        gas_pb2_grpc.GasServiceStub.__init__(self, channel)  # type: ignore[call-arg]  # typed as `__new__`
        metering_pb2_grpc.MeteringServiceStub.__init__(self, channel)  # type: ignore[call-arg]  # as above


SEEDS = iter(range(10**6))


def used(amount: int, meter: int = Usage.METER_INPUT_TOKENS) -> Usage:
    return Usage(meter=meter, amount=amount)  # type: ignore[arg-type]  # also unknown ones


def limit(
    name: str,
    gas_limit: int,
    *,
    origin: int = pb.Budget.ORIGIN_OPERATOR,
    period: int = pb.Budget.PERIOD_DAY,
) -> pb.Budget:
    return pb.Budget(account=name, origin=origin, period=period, gas_limit=gas_limit)  # type: ignore[arg-type]  # also unknown ones


def reserve(name: str, gas: int, *, item: str = MODEL) -> pb.ReserveGasRequest:
    seed = next(SEEDS)
    run = f"runs/{uuid.UUID(int=1000 + seed, version=4)}"
    return pb.ReserveGasRequest(
        request_id=f"r{seed}", account=name, run=run, item=item, usages=[used(gas)]
    )


def charge(stub: Stub, name: str, gas: int) -> pb.Hold:
    hold = stub.ReserveGas(reserve(name, gas)).hold
    return stub.SettleGas(pb.SettleGasRequest(hold=hold.name, usages=[used(gas)])).hold


def entries(stub: Stub, account: str = "", *, newest_first: bool = False) -> list[pb.Entry]:
    found, token = list[pb.Entry](), ""
    while True:
        request = pb.ListEntriesRequest(
            account=account, page_size=7, page_token=token, newest_first=newest_first
        )
        page = stub.ListEntries(request)
        found += page.entries
        token = page.next_page_token
        if not token:
            return found


def reason(method: Callable[..., object], request: object) -> str:
    with pytest.raises(grpc.RpcError) as failed:
        method(request, timeout=20)
    return error_info(failed.value).reason


def bad_field(method: Callable[..., object], request: object) -> str:
    with pytest.raises(grpc.RpcError) as failed:
        method(request, timeout=20)
    (field,) = bad_request(failed.value)
    return field
