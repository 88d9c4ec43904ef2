"""Values that several contracts share."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2

from ..facts import Callers, Signature, Usage

_METER = action_pb2.Usage.Meter


def callers_to_proto(callers: Callers) -> list[action_pb2.Caller]:
    return [action_pb2.Caller(account=caller.account, run=caller.run) for caller in callers]


def usages_to_proto(usages: Sequence[Usage]) -> list[action_pb2.Usage]:
    return [
        action_pb2.Usage(meter=_METER.Value(f"METER_{usage.meter.upper()}"), amount=usage.amount)
        for usage in usages
    ]


def usages_of(usages: Sequence[action_pb2.Usage]) -> tuple[Usage, ...]:
    return tuple(
        Usage(_METER.Name(usage.meter).removeprefix("METER_").lower(), usage.amount)
        for usage in usages
    )


def signature_of(signature: action_pb2.Signature) -> Signature:
    """Return a signature of the contract."""
    return Signature(
        key=signature.key,
        algorithm=signature.algorithm,
        public_key=signature.public_key,
        value=signature.value,
    )
