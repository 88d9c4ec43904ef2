"""The machine that executes code: CPython in WebAssembly, metered to the instruction.

Every call gets an instance of its own, which is thrown away. What it may ask of us are the three
functions of `guest/runner.wit`, the time and nothing: all other imports trap. Our functions never
raise, since wasmtime keeps the exception where another thread would find it.
"""

from __future__ import annotations

import ctypes
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime.component import (
    Component,
    ExportIndex,
    Func,
    Instance,
    Linker,
    Record,
    ValType,
)

from .limits import Limits
from .outcome import Reason
from .trap import Trap

TICK_SECONDS = 0.01
_IDLE_TICKS_MAX = 100
# The instances that the component is made of, and what they have.
_INSTANCES_MAX = 30
_TABLES_MAX = 4
_STACK_BYTES = 512 * 1024
_RANDOM_BYTES_MAX = 64 * 1024
_CAUSE_MAX = 200
# What the host does for code is on its bill: about as many instructions as it takes time.
_CALL_FUEL = 100_000
_RANDOM_BYTE_FUEL = 6_000
_HOST = "actionvm:action/host@0.1.0"


@dataclass
class Session:
    """One execution: what its host functions need, and what they have seen."""

    limits: Limits
    # Given the JSON of calls, returns the JSON of their answers.
    ask: Callable[[str], str]
    now: Callable[[], float]
    dice: random.Random
    # By the clock of the machine.
    deadline: float
    logs: list[str] = field(default_factory=list)
    logs_dropped: int = 0
    log_bytes: int = 0
    reads: int = 0
    # Set where a host function has to stop the code.
    stopped: Reason | None = None
    fuel: int = 0


@dataclass
class Prepared:
    """An instance that executes one call of a stranger, and its store."""

    store: wasmtime.Store
    instance: Instance | None = None

    def close(self) -> None:
        """Give its memory back."""
        self.store.close()


@dataclass(frozen=True)
class _Export:
    """What an export is in each instance."""

    index: ExportIndex
    params: list[tuple[str, ValType]]
    result: ValType | None


class Machine:
    """A compiled component, such as the runner; any number of threads may execute in it at once."""

    def __init__(self, engine: wasmtime.Engine, component: Component, ticker: Ticker) -> None:
        self._engine = engine
        self.component = component
        self._current = threading.local()
        self.linker = _link(engine, component, self._session)
        self.ticker = ticker
        self._exports: dict[str, _Export] = {}

    def prepare(self, session: Session, export: str, *arguments: str) -> Prepared:
        """Return a fresh instance that has called an export; raise `Trap`.

        Who calls the same each time, with nothing of a stranger in it, has done what the first call
        of every instance costs before somebody waits for it.
        """
        prepared = Prepared(wasmtime.Store(self._engine))
        try:
            self._enter(prepared, session, export, arguments)
        except Trap:
            prepared.close()
            raise
        return prepared

    def call(
        self, session: Session, export: str, *arguments: str, prepared: Prepared | None = None
    ) -> str:
        """Call an export, in a fresh instance or one that the caller closes; raise `Trap`."""
        if prepared:
            return self._enter(prepared, session, export, arguments)
        fresh = Prepared(wasmtime.Store(self._engine))
        try:
            return self._enter(fresh, session, export, arguments)
        finally:
            fresh.close()

    def _enter(
        self, prepared: Prepared, session: Session, export: str, arguments: tuple[str, ...]
    ) -> str:
        store, limits = prepared.store, session.limits
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=100_000,
            instances=_INSTANCES_MAX,
            tables=_TABLES_MAX,
            memories=1,
        )
        store.set_fuel(limits.fuel)
        left = min(limits.compute_seconds, session.deadline - time.monotonic())
        store.set_epoch_deadline(_ticks(left))
        self._current.session = session
        try:
            with self.ticker.ticking():
                return self._execute(prepared, session, export, arguments)
        finally:
            self._current.session = None

    def _execute(
        self, prepared: Prepared, session: Session, export: str, arguments: tuple[str, ...]
    ) -> str:
        store = prepared.store
        try:
            prepared.instance = prepared.instance or self.linker.instantiate(store, self.component)
            result = self._function(prepared.instance, store, export)(store, *arguments)
            session.fuel = session.limits.fuel - store.get_fuel()
        except (wasmtime.WasmtimeError, wasmtime.Trap, wasmtime.ExitTrap) as error:
            # Fuel is counted lazily, so after an interruption nobody knows how much it was.
            session.fuel = session.limits.fuel
            raise _trap(str(error), session.stopped) from None
        assert isinstance(result, str)
        return result

    def _function(self, instance: Instance, store: wasmtime.Store, name: str) -> Func:
        """Return an export of an instance, with what all instances have in common."""
        export = self._exports.get(name)
        index = export.index if export else self.component.get_export_index(name)
        assert index is not None, "what is loaded exports it"
        function = instance.get_func(store, index)
        assert function is not None, "it is a function"
        if export is None:
            kind = function.type(store)
            export = self._exports[name] = _Export(index, kind.params, kind.result)
        # The wrapper asks for it at each call, which takes longer than the call.
        function.type = lambda _store: export  # type: ignore[assignment,method-assign,return-value]
        return function

    def _session(self) -> Session:
        session = self._current.session
        assert isinstance(session, Session)
        return session


def configure() -> wasmtime.Config:
    """Return what an engine is made with; a compiled runner fits no other."""
    config = wasmtime.Config()
    config.wasm_component_model = True
    config.consume_fuel = True
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    for feature in ("threads", "memory64", "relaxed_simd", "tail_call"):
        setattr(config, f"wasm_{feature}", False)
    return config


def load(path: Path) -> Machine:
    """Map a runner that `build.py` has compiled on this machine."""
    engine = wasmtime.Engine(configure())
    machine = Machine(engine, Component.deserialize_file(engine, str(path)), Ticker(engine))
    # What CPython was linked with and never needs.
    machine.linker.define_unknown_imports_as_traps(machine.component)
    return machine


class Ticker:
    """Moves the epoch on, so that code that runs for too long is interrupted."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._count = 0
        self._busy = threading.Condition()

    def start(self) -> None:
        """Let time pass, in a thread."""
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        with self._busy:
            self._count += 1
            self._busy.notify()
        try:
            yield
        finally:
            with self._busy:
                self._count -= 1

    def _tick(self) -> None:
        idle = 0
        while True:
            with self._busy:
                idle = 0 if self._count else idle + 1
                # To be woken for each call would cost more than to go on for a while.
                if idle > _IDLE_TICKS_MAX:
                    self._busy.wait_for(lambda: self._count)
                    idle = 0
            start = time.monotonic()
            time.sleep(TICK_SECONDS)  # noqa: TID251  # it is the clock
            # On a busy machine it sleeps for longer.
            for _ in range(max(1, round((time.monotonic() - start) / TICK_SECONDS))):
                self._engine.increment_epoch()


def _ticks(seconds: float) -> int:
    return max(1, math.ceil(seconds / TICK_SECONDS))


def _link(engine: wasmtime.Engine, component: Component, session: Callable[[], Session]) -> Linker:
    """Return a linker with our few functions, and nothing else."""
    linker = Linker(engine)
    version = _wasi_version(engine, component)
    functions: dict[str, dict[str, tuple[Callable[..., Any], Any]]] = {
        _HOST: {"ask": (_ask, "[]"), "log": (_log, None), "now": (_now, 0.0)},
        f"wasi:cli/environment@{version}": {
            "get-environment": (_nothing, []),
            "get-arguments": (_nothing, []),
            "initial-cwd": (_nothing, None),
        },
        f"wasi:clocks/wall-clock@{version}": {"now": (_wall, _record(seconds=0, nanoseconds=0))},
        f"wasi:clocks/monotonic-clock@{version}": {"now": (_nanoseconds, 0)},
        f"wasi:random/random@{version}": {
            "get-random-bytes": (_random, b""),
            "get-random-u64": (_random_number, 0),
        },
        f"wasi:filesystem/preopens@{version}": {"get-directories": (_nothing, [])},
    }
    with linker.root() as root:
        for instance, named in functions.items():
            with root.add_instance(instance) as added:
                for name, (function, otherwise) in named.items():
                    added.add_func(name, _guarded(session, function, otherwise))
    return linker


def _guarded(
    session: Callable[[], Session],
    function: Callable[..., Any],
    otherwise: Any,  # noqa: ANN401  # what WebAssembly gets where the code is stopped
) -> Callable[..., Any]:
    """Return a function that never raises, and takes fuel for the work of the host."""

    def call(context: wasmtime.StoreContext, *arguments: Any) -> Any:  # noqa: ANN401  # by its type
        current = session()
        try:
            returned, price = function(current, *arguments)
            if function is _ask:
                # Waiting does not count.
                left = min(current.limits.compute_seconds, current.deadline - time.monotonic())
                _set_ticks(context, _ticks(left))
            _charge(context, _CALL_FUEL + price)
        except Trap as trap:
            current.stopped = trap.reason
        except Exception:  # noqa: BLE001  # a bug, which no other thread must see
            current.stopped = Reason.TRAPPED
        else:
            return otherwise if returned is None else returned
        # The code goes no further than its next instruction.
        _set_ticks(context, 0)
        _set_fuel(context, 0)
        return otherwise

    return call


def _set_ticks(context: wasmtime.StoreContext, ticks: int) -> None:
    ffi.wasmtime_context_set_epoch_deadline(context._context(), ticks)  # noqa: SLF001  # the wrapper lacks it


def _set_fuel(context: wasmtime.StoreContext, fuel: int) -> None:
    ffi.wasmtime_context_set_fuel(context._context(), fuel)  # noqa: SLF001


def _charge(context: wasmtime.StoreContext, price: int) -> None:
    left = ctypes.c_uint64()
    ffi.wasmtime_context_get_fuel(context._context(), ctypes.byref(left))  # noqa: SLF001
    _set_fuel(context, max(0, left.value - price))


def _ask(session: Session, calls: str) -> tuple[str, int]:
    answers = session.ask(calls)
    return answers, len(calls) + len(answers)


def _now(session: Session) -> tuple[float, int]:
    return session.now(), 0


def _nothing(_session: Session) -> tuple[None, int]:
    return None, 0


def _random(session: Session, count: int) -> tuple[bytes, int]:
    if count > _RANDOM_BYTES_MAX:
        raise Trap(Reason.TRAPPED)
    # They are handed over one by one.
    return session.dice.randbytes(count), count * _RANDOM_BYTE_FUEL


def _random_number(session: Session) -> tuple[int, int]:
    return session.dice.getrandbits(64), 0


def _log(session: Session, text: str) -> tuple[None, int]:
    size = len(text.encode()) + 1
    if session.log_bytes + size > session.limits.log_bytes:
        session.logs_dropped += 1
    else:
        session.logs.append(text)
        session.log_bytes += size
    return None, size


def _wall(session: Session) -> tuple[Record, int]:
    now = session.now()
    return _record(seconds=int(now), nanoseconds=int((now - int(now)) * 1e9)), 0


def _record(**fields: int) -> Record:
    record = Record()
    vars(record).update(fields)
    return record


def _nanoseconds(session: Session) -> tuple[int, int]:
    # It stands still between answers, but for what a loop needs to see it move.
    session.reads += 1
    return int(session.now() * 1e9) + session.reads * 1_000, 0


def _wasi_version(engine: wasmtime.Engine, component: Component) -> str:
    names = component.type.imports(engine)
    # Linkers take any version that only adds to it.
    return next((name.partition("@")[2] for name in names if name.startswith("wasi:")), "0.2.0")


def _trap(message: str, stopped: Reason | None) -> Trap:
    """Return why wasmtime stopped the code: it has no codes for it, only words."""
    if message.startswith("component imports"):
        return Trap(Reason.CODE_INVALID, " ".join(message.split())[:_CAUSE_MAX])
    # What comes before are names of functions, which those of a component choose.
    cause = message.rpartition("Caused by:")[2].strip()
    reason = next((one for words, one in _WORDS.items() if words in cause), Reason.TRAPPED)
    if reason == Reason.TRAPPED and "alloc_error" in message:
        # So Rust calls what stops code that gets no memory.
        reason = Reason.MEMORY_EXHAUSTED
    if stopped or reason != Reason.TRAPPED:
        return Trap(stopped or reason)
    return Trap(reason, cause[:_CAUSE_MAX])


_WORDS = {
    "all fuel consumed": Reason.FUEL_EXHAUSTED,
    "wasm trap: interrupt": Reason.TIME_EXCEEDED,
    "call stack exhausted": Reason.STACK_EXHAUSTED,
    "hostcalls has been exhausted": Reason.OUTPUT_EXCEEDED,
    "resource limit exceeded": Reason.MEMORY_EXHAUSTED,
    "memory minimum size": Reason.MEMORY_EXHAUSTED,
    "table minimum size": Reason.MEMORY_EXHAUSTED,
}
