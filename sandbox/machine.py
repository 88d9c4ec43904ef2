"""The machine that executes code: CPython in WebAssembly, metered to the instruction.

Every call gets an instance of its own, which is thrown away. What it may ask of us are the three
functions of `guest/runner.wit`, the time and nothing: all other imports trap. Our functions never
raise, since wasmtime keeps the exception where another thread would find it.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime.component import Component, Linker, Record

from .limits import Limits
from .outcome import Reason

TICK_SECONDS = 0.01
# The instances that the component is made of, and what they have.
_INSTANCES_MAX = 30
_TABLES_MAX = 4
_STACK_BYTES = 512 * 1024
_RANDOM_BYTES_MAX = 64 * 1024
_HOST = "actionvm:action/host@0.1.0"


class Trap(Exception):
    """Code was stopped."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


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


class Machine:
    """A compiled runner; any number of threads may execute in it at once."""

    def __init__(self, engine: wasmtime.Engine, component: Component) -> None:
        self._engine = engine
        self._component = component
        self._current = threading.local()
        self._linker = _link(engine, component, self._session)
        self._ticker = _Ticker(engine)

    def call(self, session: Session, export: str, *arguments: str) -> str:
        """Call an export in a fresh instance; raise `Trap`."""
        store = wasmtime.Store(self._engine)
        limits = session.limits
        try:
            store.set_limits(
                memory_size=limits.memory_bytes,
                table_elements=100_000,
                instances=_INSTANCES_MAX,
                tables=_TABLES_MAX,
                memories=1,
            )
            store.set_fuel(limits.fuel)
            store.set_epoch_deadline(_ticks(limits.compute_seconds))
            self._current.session = session
            with self._ticker.ticking():
                return self._enter(store, session, export, arguments)
        finally:
            self._current.session = None
            store.close()

    def _enter(
        self, store: wasmtime.Store, session: Session, export: str, arguments: tuple[str, ...]
    ) -> str:
        try:
            instance = self._linker.instantiate(store, self._component)
            function = instance.get_func(store, export)
            assert function is not None, "the runner exports it"
            result = function(store, *arguments)
            session.fuel = session.limits.fuel - store.get_fuel()
        except (wasmtime.WasmtimeError, wasmtime.Trap, wasmtime.ExitTrap) as error:
            # Fuel is counted lazily, so after an interruption nobody knows how much it was.
            session.fuel = session.limits.fuel
            raise Trap(session.stopped or _reason(str(error))) from None
        assert isinstance(result, str)
        return result

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
    """Map a runner that `native.compile_runner` has compiled on this machine."""
    engine = wasmtime.Engine(configure())
    return Machine(engine, Component.deserialize_file(engine, str(path)))


class _Ticker:
    """Moves the epoch on, so that code that runs for too long is interrupted."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._count = 0
        self._busy = threading.Condition()
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
        while True:
            with self._busy:
                self._busy.wait_for(lambda: self._count)
            time.sleep(TICK_SECONDS)  # noqa: TID251  # it is the clock
            self._engine.increment_epoch()


def _ticks(seconds: float) -> int:
    return max(1, math.ceil(seconds / TICK_SECONDS))


def _link(engine: wasmtime.Engine, component: Component, session: Callable[[], Session]) -> Linker:
    """Return a linker with our few functions; everything else traps."""
    linker = Linker(engine)
    version = _wasi_version(engine, component)
    with linker.root() as root:
        with root.add_instance(_HOST) as host:
            host.add_func("ask", lambda context, calls: _ask(session(), context, calls))
            host.add_func("log", lambda _, text: _log(session(), text))
            host.add_func("now", lambda _: session().now())
        with root.add_instance(f"wasi:cli/environment@{version}") as environment:
            environment.add_func("get-environment", lambda _: [])
            environment.add_func("get-arguments", lambda _: [])
            environment.add_func("initial-cwd", lambda _: None)
        with root.add_instance(f"wasi:clocks/wall-clock@{version}") as clock:
            clock.add_func("now", lambda _: _wall(session()))
        with root.add_instance(f"wasi:clocks/monotonic-clock@{version}") as clock:
            clock.add_func("now", lambda _: _nanoseconds(session()))
        with root.add_instance(f"wasi:random/random@{version}") as dice:
            dice.add_func("get-random-bytes", lambda _, count: _random(session(), count))
            dice.add_func("get-random-u64", lambda _: session().dice.getrandbits(64))
        with root.add_instance(f"wasi:filesystem/preopens@{version}") as files:
            files.add_func("get-directories", lambda _: [])
    linker.define_unknown_imports_as_traps(component)
    return linker


def _ask(session: Session, context: wasmtime.StoreContext, calls: str) -> str:
    try:
        return session.ask(calls)
    except Trap as trap:
        session.stopped = trap.reason
        # The code goes no further than its next instruction.
        ffi.wasmtime_context_set_epoch_deadline(context._context(), 0)  # noqa: SLF001  # the wrapper lacks it
        ffi.wasmtime_context_set_fuel(context._context(), 0)  # noqa: SLF001
        return "[]"
    finally:
        if session.stopped is None:
            # Waiting does not count.
            left = min(session.limits.compute_seconds, session.deadline - time.monotonic())
            ffi.wasmtime_context_set_epoch_deadline(context._context(), _ticks(left))  # noqa: SLF001


def _random(session: Session, count: int) -> bytes:
    # More than this nobody needs at once; code that gets less fails by itself.
    return session.dice.randbytes(min(count, _RANDOM_BYTES_MAX))


def _log(session: Session, text: str) -> None:
    size = len(text.encode(errors="replace")) + 1
    if session.log_bytes + size > session.limits.log_bytes:
        session.logs_dropped += 1
        return
    session.logs.append(text)
    session.log_bytes += size


def _wall(session: Session) -> Record:
    now = session.now()
    record = Record()
    vars(record).update(seconds=int(now), nanoseconds=int((now - int(now)) * 1e9))
    return record


def _nanoseconds(session: Session) -> int:
    # It stands still between answers, but for what a loop needs to see it move.
    session.reads += 1
    return int(session.now() * 1e9) + session.reads * 1_000


def _wasi_version(engine: wasmtime.Engine, component: Component) -> str:
    names = component.type.imports(engine)
    return next(name.partition("@")[2] for name in names if name.startswith("wasi:cli/environment"))


def _reason(message: str) -> Reason:
    """Return why wasmtime stopped the code: it has no codes for it, only words."""
    return next((reason for words, reason in _WORDS.items() if words in message), Reason.TRAPPED)


_WORDS = {
    "all fuel consumed": Reason.FUEL_EXHAUSTED,
    "wasm trap: interrupt": Reason.TIME_EXCEEDED,
    "call stack exhausted": Reason.STACK_EXHAUSTED,
    "hostcalls has been exhausted": Reason.OUTPUT_EXCEEDED,
    "resource limit exceeded": Reason.MEMORY_EXHAUSTED,
}
