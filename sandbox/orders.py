"""What a worker is told to do."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .frames import MESSAGE_BYTES_MAX
from .limits import Limits
from .ports import Answer, Asked, Component, Executable, Order

# The rest of an order has room beside it.
_ORDER_BYTES_MAX = MESSAGE_BYTES_MAX - 64 * 1024


class CodeTooLarge(Exception):
    """Code and arguments do not fit into a message."""

    def __str__(self) -> str:
        """Return how large they may be."""
        return f"the code and its arguments are larger than {_ORDER_BYTES_MAX} bytes of JSON"


class ArgumentsTooLarge(Exception):
    """Arguments are larger than the limits of an execution."""


def examine_order(code: Executable, limits: Limits) -> dict[str, Any]:
    """Return the order to let code describe itself; raise `CodeTooLarge`."""
    carried = _carried(code)
    if _size(carried) > _ORDER_BYTES_MAX:
        raise CodeTooLarge
    return {**carried, "limits": asdict(limits)}


def execute_order(code: Executable, order: Order) -> dict[str, Any]:
    """Return the order to execute an action; raise `ArgumentsTooLarge` or `CodeTooLarge`."""
    carried, arguments = _carried(code), dict(order.arguments)
    size = _size(arguments)
    if size > order.limits.argument_bytes:
        raise ArgumentsTooLarge
    if _size(carried) + size > _ORDER_BYTES_MAX:
        raise CodeTooLarge
    return {
        **carried,
        "limits": asdict(order.limits),
        "action": order.action,
        "arguments": arguments,
        "seed": order.seed,
    }


class Mute:
    """A host that answers nothing."""

    def begin(self) -> None:
        """Take no notice."""

    async def ask(self, calls: Sequence[Asked]) -> Sequence[Answer]:
        """Refuse."""
        return [Answer(reason="DENIED", message="nothing is answered here")] * len(calls)

    def now(self) -> float:
        """Return the beginning of time."""
        return 0.0


def _carried(code: Executable) -> dict[str, Any]:
    """Return what an order says of its code."""
    if isinstance(code, Component):
        return {"wasm": base64.b64encode(code.wasm).decode()}
    return {"files": dict(code.files), "main": code.main}


def _size(value: Mapping[str, Any]) -> int:
    return len(json.dumps(value))
