"""Spending in messages: the same requests and refusals, alone and many at once."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import any_pb2

from actionvm.gas.v1 import gas_pb2, metering_pb2
from chassis import fields
from chassis.errors import InvalidField, ServiceError
from chassis.interceptors import domain_of, status_of

from .. import texts
from ..chain import Caller, require_chain
from ..ledger import Hold, Reservation
from ..operations import Held, Operation, Release, Reserve, Settle
from .budgets import warning_to_proto
from .charges import callers_from_proto, hold_to_proto
from .reports import token_counts_from_proto
from .usages import usages_from_proto

OPERATIONS_MAX = 256
_DOMAIN = domain_of(gas_pb2.DESCRIPTOR.services_by_name["GasService"])


def reserve_from_proto(request: gas_pb2.ReserveGasRequest) -> Reserve:
    """Return what to hold, or refuse it."""
    reservation = Reservation(
        request_id=fields.require_request_id(request.request_id),
        account=texts.account("account", request.account),
        run=texts.run(request.run),
        item=texts.item(request.item),
        usages=usages_from_proto(request.usages, size_min=1),
        callers=callers_from_proto(request.callers),
    )
    require_chain(reservation.callers, Caller(reservation.account, reservation.run))
    return Reserve(reservation)


def settle_from_proto(request: gas_pb2.SettleGasRequest) -> Settle:
    """Return what to charge, or refuse it."""
    return Settle(
        texts.hold(request.hold),
        usages_from_proto(request.usages, size_min=0),
        keep_open=request.keep_open,
        token_counts=token_counts_from_proto(request.token_counts),
    )


def release_from_proto(request: gas_pb2.ReleaseGasRequest) -> Release:
    """Return what to give back, or refuse it."""
    return Release(texts.hold(request.hold))


def operations_from_proto(
    operations: Sequence[metering_pb2.MeterOperation],
) -> list[Operation[object] | ServiceError]:
    """Return many operations, or instead of one the error that its own method would answer."""
    fields.require_size("operations", operations, size_max=OPERATIONS_MAX)
    return [_operation_from_proto(i, operation) for i, operation in enumerate(operations)]


def _operation_from_proto(
    i: int, operation: metering_pb2.MeterOperation
) -> Operation[object] | ServiceError:
    try:
        match operation.WhichOneof("operation"):
            case "reserve":
                return reserve_from_proto(operation.reserve)
            case "settle":
                return settle_from_proto(operation.settle)
            case "release":
                return release_from_proto(operation.release)
    except ServiceError as error:
        return error
    return InvalidField(f"operations[{i}]", "is required: reserve, settle or release")


def outcome_to_proto(outcome: object) -> metering_pb2.MeterOutcome:
    """Return what became of one operation of many."""
    if isinstance(outcome, ServiceError):
        refusal = any_pb2.Any()
        refusal.Pack(status_of(outcome, _DOMAIN))
        return metering_pb2.MeterOutcome(refusal=refusal)
    if isinstance(outcome, Hold):
        return metering_pb2.MeterOutcome(hold=hold_to_proto(outcome))
    assert isinstance(outcome, Held), "an operation has a hold, or a refusal"
    warnings = map(warning_to_proto, outcome.warnings)
    return metering_pb2.MeterOutcome(hold=hold_to_proto(outcome.hold), warnings=warnings)
