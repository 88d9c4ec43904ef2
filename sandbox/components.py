"""Compiles components that authors hand in, and keeps a few of them.

Whoever wrote one may have written it to be hard to compile, so this is done by a worker, which the
sandbox ends when it takes too long, and whose memory the kernel counts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime.component import Component, FuncType, String

from chassis.canonical import sha256_hex

from .machine import Machine, Ticker, configure
from .outcome import Reason
from .trap import Trap

# Each is some megabytes of machine code.
_COMPONENTS_MAX = 16
_MESSAGE_MAX = 500
_EXPORTS = {"describe": 0, "execute": 1}
# Proposals that no action needs: what is not there has no bugs.
_WITHOUT = (
    "custom_page_sizes",
    "exceptions",
    "function_references",
    "gc",
    "multi_memory",
    "stack_switching",
    "wide_arithmetic",
)


class Components:
    """Compiled components, by the digest of what they were compiled from."""

    def __init__(self) -> None:
        self._engine = wasmtime.Engine(_configure())
        self._ticker: Ticker | None = None
        self._lock = threading.Lock()
        self._machines: OrderedDict[str, Future[Machine]] = OrderedDict()

    def compiled(self, wasm: bytes) -> Machine:
        """Return a component, compiled here and now unless it is there already; raise `Trap`."""
        digest = sha256_hex(wasm)
        with self._lock:
            found = self._machines.get(digest)
            if found is None:
                mine: Future[Machine] = Future()
                self._machines[digest] = mine
                if len(self._machines) > _COMPONENTS_MAX:
                    self._machines.popitem(last=False)
            else:
                self._machines.move_to_end(digest)
        if found is not None:
            return found.result()
        try:
            mine.set_result(self._machine(wasm))
        except BaseException as error:
            mine.set_exception(error)
            raise
        return mine.result()

    def _machine(self, wasm: bytes) -> Machine:
        try:
            component = Component(self._engine, wasm)
        except wasmtime.WasmtimeError as error:
            raise Trap(Reason.CODE_INVALID, _told(error)) from None
        self._check_exports(component)
        with self._lock:
            if self._ticker is None:
                self._ticker = Ticker(self._engine)
                self._ticker.start()
        return Machine(self._engine, component, self._ticker)

    def _check_exports(self, component: Component) -> None:
        exports = component.type.exports(self._engine)
        for name, count in _EXPORTS.items():
            if name not in exports or not _takes_and_gives_text(exports[name].ty, count):
                message = f"it does not export {name} as the world `action` has it"
                raise Trap(Reason.CODE_INVALID, message)


def _takes_and_gives_text(kind: object, count: int) -> bool:
    return (
        isinstance(kind, FuncType)
        and [one for _, one in kind.params] == [String()] * count
        and kind.result == String()
    )


def _configure() -> wasmtime.Config:
    config = configure()
    # One that is hard to compile takes one core and not all of them.
    config.parallel_compilation = False
    # A number that is none has the same bits on every machine.
    config.cranelift_nan_canonicalization = True
    for proposal in _WITHOUT:
        setattr(config, f"wasm_{proposal}", False)
    # A component that waits for itself would hold its thread.
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)  # noqa: FBT003  # a function of C
    return config


def _told(error: wasmtime.WasmtimeError) -> str:
    """Return what wasmtime says in one line."""
    return " ".join(str(error).split())[:_MESSAGE_MAX]
