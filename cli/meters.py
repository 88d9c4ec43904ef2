"""The meters of usage, as people read and write them."""

from __future__ import annotations

from actionvm.action.v1 import action_pb2

_PREFIX = "METER_"

# By the name that price files and options use, such as `input_tokens`.
METERS = {
    name.removeprefix(_PREFIX).lower(): number
    for name, number in action_pb2.Usage.Meter.items()
    if number
}


def meter_name(meter: action_pb2.Usage.Meter.ValueType) -> str:
    """Return a meter as price files write it, such as `input_tokens`."""
    return action_pb2.Usage.Meter.Name(meter).removeprefix(_PREFIX).lower()


def meter_words(meter: action_pb2.Usage.Meter.ValueType) -> str:
    """Return a meter as a sentence has it, such as `input tokens`."""
    return meter_name(meter).replace("_", " ")
